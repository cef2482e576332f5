"""The models that an attack on training data is measured on, besides the student."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from torch import nn

from robustbench_kd.core.config import REACHES_STUDENT, REACHES_TEACHER
from robustbench_kd.core.protocols import Defense
from robustbench_kd.core.seed import Seed
from robustbench_kd.evaluation.entries import control
from robustbench_kd.evaluation.fingerprints import (
    GIVEN,
    pretrained_roles,
    role_recipe,
    student_recipe,
)
from robustbench_kd.evaluation.plan import EvalPlan
from robustbench_kd.evaluation.poisoned_data import DataPoisoning
from robustbench_kd.evaluation.trained_models import ModelSource, TrainedModel
from robustbench_kd.models.statistics import weights_digest
from robustbench_kd.results.record import counterpart

SHADOW_SEED = 1000  # shadow models are the same for every seed, and no student has one as high


@dataclass(frozen=True)
class _Compared:
    """A model by the digest of its recipe, which is known before it is loaded or trained."""

    recipe_digest: str
    load: Callable[[], TrainedModel]


def compared_models(plan: EvalPlan, poisoning: DataPoisoning | None) -> dict[str, TrainedModel]:
    """Models by role, the student first: as the leaderboard names them, with clean counterparts.

    Args:
        poisoning: of the training data; None for attacks on test data.
    """
    if plan.user_model is not None:
        return {"student": TrainedModel(plan.user_model, {}, "user")}
    return {role: model.load() for role, model in _compared(plan, poisoning).items()}


def recipe_digests(plan: EvalPlan, poisoning: DataPoisoning | None) -> dict[str, str]:
    """The recipe digests of the same models, none of which is loaded; empty for untrained ones."""
    if plan.user_model is not None:
        return {"student": ""}
    return {role: model.recipe_digest for role, model in _compared(plan, poisoning).items()}


def _compared(plan: EvalPlan, poisoning: DataPoisoning | None) -> dict[str, _Compared]:
    models = dict(_models(plan, poisoning, plan.board.models))
    for role, model in _models(plan, None, plan.board.clean_counterparts or ()):
        models[counterpart(role)] = model
    return models


def _models(
    plan: EvalPlan, poisoning: DataPoisoning | None, roles: tuple[str, ...]
) -> Iterator[tuple[str, _Compared]]:
    """Models under one poisoning, or under none."""
    board, scenario, seed, defense = plan.board, plan.scenario, plan.seed, plan.defense
    assert defense is not None  # for the type checker: plans are about a defense or a model

    def student(of: Defense, reached: DataPoisoning | None) -> _Compared:
        key = student_recipe(board, scenario, of, seed, reached)["key"]
        return _Compared(key, partial(plan.source.student, of, reached))

    if "student" in roles:
        yield "student", student(defense, poisoning)
    if "control" in roles:
        # The control has no teacher, so only poison in the student's own data reaches it.
        reached = poisoning if board.capability in REACHES_STUDENT else None
        yield "control", student(control(), reached)
    if "teacher" in roles:
        usual = ("clean",) if board.capability in REACHES_TEACHER else ()
        for role in defense.teacher_roles or usual:
            key = role_recipe(board, scenario, role, seed, poisoning)["key"]
            load = partial(plan.source.teacher_of, role, poisoning)
            yield f"teacher-{role}", _Compared(key, load)
    if "pretrained" in roles and pretrained_roles(scenario) and defense.net != GIVEN:
        yield "pretrained", _Compared("", partial(_pretrained, plan))


def _pretrained(plan: EvalPlan) -> TrainedModel:
    """The student before it was trained on any private data."""
    net = plan.scenario.student("plain", Seed(plan.seed) / "student").eval()
    weights = weights_digest(net.state_dict())
    architecture = plan.scenario.architectures["plain"]
    return TrainedModel(net, {"weights": weights, "key": "", "net": architecture}, "shipped")


def shadow_models(plan: EvalPlan, count: int) -> Iterator[nn.Module]:
    """Undistilled students of other seeds, trained on data without any poison."""
    source = plan.source
    for number in range(count):
        shadow = ModelSource(
            source.board, source.scenario, SHADOW_SEED + number, source.train, source.on_progress
        )
        yield shadow.student(control()).net
