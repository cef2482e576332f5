"""From a name to records, one path for all threats: plan, poison, train, attack, score, record."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from robustbench_kd.core import options
from robustbench_kd.core.errors import BadSubmission
from robustbench_kd.core.io import expect_writable
from robustbench_kd.core.protocols import NeedsShadowModels, TargetModel
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.types import SampleScores, Splits
from robustbench_kd.evaluation.attack_runner import AttackRunner, Outcome
from robustbench_kd.evaluation.clean_results import clean_samples, clean_scores
from robustbench_kd.evaluation.compared_models import compared_models, shadow_models
from robustbench_kd.evaluation.evidence import evidence_of
from robustbench_kd.evaluation.identity import Identity, identify
from robustbench_kd.evaluation.plan import Attacks, EvalPlan
from robustbench_kd.evaluation.poisoned_data import DataPoisoning
from robustbench_kd.evaluation.provenance import (
    described_data,
    described_models,
    threat_of,
    versions,
)
from robustbench_kd.evaluation.sanity import sanity_of
from robustbench_kd.evaluation.trained_models import ProgressCallback, TrainedModel, no_progress
from robustbench_kd.ops.attacks.gradients import frozen_eval_mode
from robustbench_kd.results.record import CLEAN, AttackResult, Bits, Column, Record, rounded
from robustbench_kd.results.store import local_records, save_record

Outcomes = Mapping[str, Mapping[str, Outcome]]


def evaluate(
    who: str | nn.Module,
    *,
    board: str | None = None,
    attacks: Sequence[str] | None = None,
    seed: int = 0,
    limit: int | None = None,
    eps: float | None = None,
    train: bool = False,
    full_test: bool = False,
    name: str | None = None,
    folder: str | None = None,
    starting_points: Mapping[str, str | None] | None = None,
    accept_probabilities: bool = False,
    out: str | Path | None = None,
    on_progress: ProgressCallback = no_progress,
) -> list[Record]:
    """The records of a defense, or of any network, on a leaderboard.

    One record for all attacks on test data, and for all attacks that poison one training set
    jointly; else one for each attack on training data.

    Args:
        who: a defense as one types it (``"ard"``, ``"ard:alpha=0.9"``), or a module that maps
            inputs of the leaderboard's scenario in [0, 1] to logits.
        board: the leaderboard; the defense's home leaderboard unless given.
        attacks: in place of the leaderboard's; such a record never ranks.
        limit: only the first so many test images; such a record never ranks.
        eps: radius of the attacks in place of the leaderboard's, whose student stays the same; such
            a record never ranks, but is a point of the curve over radii.
        train: train models that are not stored.
        full_test: also run the leaderboard's cheap attacks on the whole test set.
        name: what to call a network of one's own.
        folder: where the scenario's whole data set may lie.
        starting_points: checkpoints that the scenario's teacher and student start from.
        accept_probabilities: accept a network that returns probabilities, with a warning.
        out: also write records and evidence to this folder; they are kept in the cache in any case,
            so that they can be verified and compared later.
        on_progress: hears how far the run is: stage, done, total, note.

    Raises:
        RobustbenchError: with one sentence that says what is wrong and what would be right.
    """
    folders = [local_records(), *([] if out is None else [Path(out)])]
    for place in folders:
        expect_writable(place)
    plan = EvalPlan.of(
        who,
        board=board,
        attacks=attacks,
        seed=seed,
        limit=limit,
        eps=eps,
        train=train,
        full_test=full_test,
        name=name,
        folder=folder,
        starting_points=starting_points,
        accept_probabilities=accept_probabilities,
        on_progress=on_progress,
    )
    records = []
    for group in plan.groups:
        record, evidence = evaluate_group(plan, group)
        for place in folders:
            save_record(record, evidence, place)
        records.append(record)
    return records


def evaluate_group(plan: EvalPlan, attacks: Attacks) -> tuple[Record, bytes]:
    """The record of attacks that share a student, and its file of stored inputs."""
    started = time.process_time()
    poisoning = plan.poisoning(attacks) if plan.board.poisons else None
    models = compared_models(plan, poisoning)
    data = plan.data()
    identity = identify(plan, models["student"], data.test)
    runner = runner_of(plan, attacks, data, poisoning)
    outcomes = run_attacks(plan, runner, attacks, models, identity)
    results = {label: _result(plan, attacks, label, outcomes[label]) for label in attacks}
    if plan.board.poisons:
        results = {CLEAN: _clean_result(plan, models, data), **results}
    sanity = sanity_of(plan, models["student"], data.test, identity)
    full_test = _full_test(plan, models, identity)
    evidence, description = evidence_of(plan, attacks, outcomes, data.test, runner)
    warnings = {text for result in results.values() for text in result.warnings}
    warnings |= {warning.value for warning in (*identity.warnings, *sanity.warnings)}
    record = Record(
        board=plan.board.name,
        scenario=plan.scenario.name,
        defense=plan.described(),
        seed=plan.seed,
        limit=_limit(plan, data),
        data=described_data(plan, data),
        threat=threat_of(plan),
        poison=poisoning.facts() if poisoning else {},
        models=described_models(plan, models, identity, data.test),
        attacks=results,
        full_test=full_test,
        evidence=description,
        sanity_checks=sanity.values,
        warnings=tuple(sorted(warnings)),
        versions=versions(),
        compute={"cpu_seconds": round(time.process_time() - started, 1)},
    )
    return record, evidence


def runner_of(
    plan: EvalPlan, attacks: Attacks, data: Splits, poisoning: DataPoisoning | None
) -> AttackRunner:
    """What runs these attacks, with all that they need from the poisoning of training data."""
    if poisoning is None:
        return AttackRunner(plan.scenario, data, plan.seed)
    return AttackRunner(
        plan.scenario,
        data,
        plan.seed,
        states=attack_states(plan, attacks, data),
        repetitions=poisoning.repetitions(),
        poison=poisoning.key,
    )


def run_attacks(
    plan: EvalPlan,
    runner: AttackRunner,
    attacks: Attacks,
    models: Mapping[str, TrainedModel],
    identity: Identity,
) -> dict[str, dict[str, Outcome]]:
    """Every attack on every model: label -> role -> outcome."""
    outcomes: dict[str, dict[str, Outcome]] = {label: {} for label in attacks}
    total, done = len(attacks) * len(models), 0
    if plan.board.poisons and plan.classifies:
        # The student is what inputs are made against, also where its outcome is stored already.
        with frozen_eval_mode(models["student"].net):
            for label, attack in attacks.items():
                runner.submit(label, attack, models["student"].net)
    for role, model in models.items():
        weights = model.recipe.get("weights", identity.weights)
        answers = identity.answers if role == "student" else None
        for label, attack in attacks.items():
            stage = label if len(models) == 1 else f"{label}: {role}"
            plan.source.on_progress(stage, done, total, "")
            with frozen_eval_mode(model.net):
                outcomes[label][role] = runner.run(label, attack, model.net, weights, answers)
            done += 1
    plan.source.on_progress("done", total, total, "")
    return outcomes


def attack_states(
    plan: EvalPlan, attacks: Attacks, data: Splits
) -> dict[str, Mapping[str, Tensor]]:
    """What each attack needs, with the answers of its shadow models where it has any."""
    states = plan.poisoning(attacks).states()
    for label, attack in attacks.items():
        if isinstance(attack, NeedsShadowModels) and attack.shadows:
            shadows: list[TargetModel] = [
                plan.scenario.target_model(net) for net in shadow_models(plan, attack.shadows)
            ]
            states[label] = attack.query_shadow_models(shadows, data, states[label])
    return states


def _result(
    plan: EvalPlan, attacks: Attacks, label: str, outcomes: Mapping[str, Outcome]
) -> AttackResult:
    """The columns of every model under one attack.

    Raises:
        BadSubmission: where the models were asked about different samples.
    """
    attack, outcome = attacks[label], outcomes["student"]
    scores = outcome.scores
    for role, other in outcomes.items():
        if not torch.equal(other.scores.ids, scores.ids):
            raise BadSubmission(
                f"{label} submits other samples against the {role} than against the student, so "
                "they cannot be compared"
            )
    return AttackResult(
        settings=options.written(attack),
        scorer=attack.threat.scorer,
        columns={
            role: {name: column_of(values) for name, values in result.scores.columns.items()}
            for role, result in outcomes.items()
        },
        samples=samples_of(plan, scores),
        eligible=None if scores.eligible is None else Bits.of(scores.eligible.tolist()),
        passes={} if plan.board.poisons else outcome.passes,
        metadata={} if plan.board.poisons else outcome.metadata,
        warnings=tuple(sorted(warning.value for warning in scores.warnings)),
    )


def samples_of(plan: EvalPlan, scores: SampleScores) -> dict[str, list[object]]:
    """What identifies the samples of an attack; empty where they are the test set."""
    if not scores.candidates:
        return {}
    samples = {name: values.long().tolist() for name, values in scores.candidates.items()}
    return {**samples, "format": plan.formats(scores.ids)}


def column_of(values: Tensor) -> Column:
    """Flags are packed; numbers keep six significant digits."""
    if values.dtype == values.bool().dtype:
        return Bits.of(values.tolist())
    return rounded(values.double().tolist())


def _clean_result(plan: EvalPlan, models: Mapping[str, TrainedModel], data: Splits) -> AttackResult:
    """The control: what every model does when nobody attacks."""
    columns = {}
    for role, model in models.items():
        scores = clean_scores(plan, model, data.test)
        columns[role] = {name: column_of(values) for name, values in scores.columns.items()}
    return AttackResult(
        settings={},
        scorer="classification" if plan.classifies else "generation",
        columns=columns,
        samples=clean_samples(plan, data.test),
    )


def _full_test(
    plan: EvalPlan, models: Mapping[str, TrainedModel], identity: Identity
) -> dict[str, AttackResult]:
    """Cheap attacks on the whole test set: for a narrower interval."""
    if plan.full_test is None:
        return {}
    whole = plan.scenario.splits(Seed(plan.seed), whole=True).test
    empty = whole.take(whole.ids[:0])
    runner = AttackRunner(plan.scenario, Splits(empty, empty, whole), plan.seed)
    everything = replace(plan, limit=None)
    outcomes = run_attacks(everything, runner, plan.full_test, models, identity)
    return {
        label: _result(everything, plan.full_test, label, outcomes[label])
        for label in plan.full_test
    }


def _limit(plan: EvalPlan, data: Splits) -> int | None:
    """The limit, where it leaves samples out."""
    if plan.limit is None or plan.board.poisons:
        return None
    packaged = plan.scenario.splits(Seed(plan.seed), whole=False).test
    return plan.limit if len(data.test) < len(packaged) else None
