"""The evaluation that a record is about, found again: plan, data and models, as its names say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from robustbench_kd.core import options
from robustbench_kd.core.errors import (
    BadModel,
    BadRecord,
    BadSetting,
    Incompatible,
    MissingData,
    RobustbenchError,
    UnknownName,
)
from robustbench_kd.core.types import Splits
from robustbench_kd.evaluation.compared_models import compared_models, recipe_digests
from robustbench_kd.evaluation.fingerprints import student_recipe
from robustbench_kd.evaluation.identity import Identity, identify
from robustbench_kd.evaluation.plan import Attacks, EvalPlan
from robustbench_kd.evaluation.poisoned_data import DataPoisoning
from robustbench_kd.evaluation.provenance import described_data, described_models, threat_of
from robustbench_kd.evaluation.trained_models import TrainedModel
from robustbench_kd.results.record import CLEAN, Json, Record


@dataclass(frozen=True)
class Rebuilt:
    """An evaluation as a record says it was; whatever the record claims of it holds.

    Attributes:
        poisoning: None for attacks on test data.
        identity: of the student.
    """

    plan: EvalPlan
    attacks: Attacks
    poisoning: DataPoisoning | None
    data: Splits
    models: Mapping[str, TrainedModel]
    identity: Identity


def rebuild(record: Record, path: Path, model: nn.Module | None = None) -> Rebuilt:
    """Plan, data and models of a record, each compared with what the record claims.

    Args:
        model: the student, where it is neither shipped nor stored.

    Raises:
        BadRecord: naming the first claim that does not hold.
        BadModel: where a network is not here, or was trained here and has other weights.
        MissingData: where the data, or an entry that the record names, are not here.
    """
    plan = plan_of(record, path, model)
    (attacks,) = plan.groups
    poisoning = plan.poisoning(attacks) if plan.board.poisons else None
    data = plan.data()
    test_data = described_data(plan, data)
    if any(test_data.get(name) != value for name, value in record.data.items()):
        raise BadRecord(f"{path} is about other test data than those here")
    if (poisoning.facts() if poisoning else {}) != record.poison:
        raise BadRecord(f"{path} claims another poison than its attacks insert")
    for role, key in recipe_digests(plan, poisoning).items():
        if role in record.models and record.models[role]["recipe_digest"] != key:
            raise BadRecord(f"{path}: its {role} was not trained as {record.board} trains it")
    models = _models(record, plan, poisoning, model)
    identity = identify(plan, models["student"], data.test)
    if missing := {warning.value for warning in identity.warnings} - set(record.warnings):
        raise BadRecord(f"{path} lacks a warning about its student: {min(missing)}")
    described = described_models(plan, models, identity, data.test)
    _expect_models(record, described, models, path)
    return Rebuilt(plan, attacks, poisoning, data, models, identity)


def plan_of(record: Record, path: Path, model: nn.Module | None = None) -> EvalPlan:
    """The plan that a record says it followed, under the settings that its names stand for.

    Args:
        model: the student, where it is neither shipped nor stored.

    Raises:
        BadRecord: where it claims other settings.
        BadModel: where it is about somebody's own network, which was not given.
        MissingData: where an entry that it names, or its data set, is not here.
    """
    who: str | nn.Module = record.label
    if record.student.get("user_model"):
        if model is None:
            raise BadModel(f"{path} is about a network of somebody's own; give it by --model")
        who = model
    try:
        plan = EvalPlan.of(
            who,
            board=record.board,
            attacks=record.attack_labels or [CLEAN],
            seed=record.seed,
            limit=record.limit,
            eps=record.threat.get("eps"),
            full_test=bool(record.full_test),
            name=record.label,
            accept_probabilities=True,
        )
    except UnknownName as why:
        raise MissingData(f"{path} cannot be checked here: {why}") from why
    except (BadSetting, Incompatible) as why:
        raise BadRecord(f"{path} claims what cannot be evaluated: {why}") from why
    if record.data["dataset_digest"] != plan.scenario.dataset_digest:
        raise MissingData(
            f"{path} is about another data set than {plan.scenario.name} has here; it can be "
            "evaluated again with --data"
        )
    described = plan.described()
    claims = {name: described.get(name) for name in record.defense}
    if (claims, threat_of(plan), plan.scenario.name) != (
        record.defense,
        record.threat,
        record.scenario,
    ):
        raise BadRecord(f"{path} claims another defense, threat or scenario than its names say")
    _expect_settings(record, plan, path)
    return plan


def _expect_settings(record: Record, plan: EvalPlan, path: Path) -> None:
    """Settings and scorers are those that the attacks' labels stand for.

    Raises:
        BadRecord: naming the first attack whose are not.
    """
    if len(plan.groups) > 1:
        raise BadRecord(f"{path} holds several attacks, each of which has a record of its own")
    for attacks, results in (
        (plan.groups[0], record.attacks),
        (plan.full_test or {}, record.full_test),
    ):
        for label, result in results.items():
            if label == CLEAN and plan.board.poisons:
                continue
            attack = attacks.get(label)
            claimed = (result.settings, result.scorer)
            if attack is None or claimed != (options.written(attack), attack.threat.scorer):
                raise BadRecord(f"{path} claims other settings than {label} has")


def _models(
    record: Record, plan: EvalPlan, poisoning: DataPoisoning | None, model: nn.Module | None
) -> Mapping[str, TrainedModel]:
    """The models that the plan compares.

    Raises:
        BadModel: where one is damaged, or not stored here, with the command that makes it again.
    """
    if model is not None and plan.defense is not None and not plan.board.poisons:
        # Given in place of a stored student: what its file does not say is taken as claimed.
        key = student_recipe(plan.board, plan.scenario, plan.defense, plan.seed)["key"]
        student = record.student
        recipe = {"key": key, "weights": student["weights"], "net": student["architecture"]}
        teachers = {
            role.removeprefix("teacher-"): claimed["weights"]
            for role, claimed in record.models.items()
            if role != "student"
        }
        return {"student": TrainedModel(model, {**recipe, "teacher_weights": teachers}, "given")}
    try:
        return compared_models(plan, poisoning)
    except BadRecord as why:  # a damaged file of this machine refutes nobody's record
        raise BadModel(str(why)) from why
    except BadModel as why:
        words = f"--board {record.board} --defense {record.label} --seed {record.seed}"
        if not plan.board.joint and plan.board.poisons:
            words += "".join(f" --attack {label}" for label in record.attack_labels)
        raise BadModel(
            "a model of this record is not stored here; make it again: robustbench-kd evaluate "
            f"--train {words}"
        ) from why


def _expect_models(
    record: Record, described: Mapping[str, Json], models: Mapping[str, TrainedModel], path: Path
) -> None:
    """Everything that a record says of its models is so.

    Raises:
        BadRecord: naming the first thing that is not.
        BadModel: where a network that was trained here has other weights.
    """
    if set(described) != set(record.models):
        raise BadRecord(f"{path} is about other models than its leaderboard compares")
    for role, claimed in record.models.items():
        if claimed["weights"] != described[role]["weights"]:
            error: type[RobustbenchError] = BadRecord
            if role in models and models[role].origin == "trained":
                error = BadModel  # by another machine, say
            raise error(f"{path} is about other weights than those stored here of its {role}")
        if claimed != described[role]:
            raise BadRecord(f"{path} claims another size or architecture than its {role} has")
