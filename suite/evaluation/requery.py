"""Records of answers and scores: every compared model is queried and scored anew."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from robustbench_kd.core.config import Budget
from robustbench_kd.core.errors import BadRecord
from robustbench_kd.core.io import inflate
from robustbench_kd.core.submissions import AdversarialInputs
from robustbench_kd.core.types import Examples, SampleScores
from robustbench_kd.evaluation.attack_runner import (
    AttackRunner,
    Outcome,
    examples_digest,
    scorer_of,
)
from robustbench_kd.evaluation.clean_results import clean_samples, clean_scores
from robustbench_kd.evaluation.evidence import targets_of
from robustbench_kd.evaluation.pipeline import run_attacks, runner_of, samples_of
from robustbench_kd.evaluation.rebuild import Rebuilt
from robustbench_kd.evaluation.scorers.classification import Classification
from robustbench_kd.evaluation.scorers.generation import Generation
from robustbench_kd.evaluation.verified import Comparison, Verification
from robustbench_kd.ops.attacks.gradients import frozen_eval_mode
from robustbench_kd.ops.attacks.quantization import decode
from robustbench_kd.results.artifacts import undump
from robustbench_kd.results.record import CLEAN, Bits, Record, digest

CANARIES = "canary-exposure"
QUERIED: dict[str, Outcome] = {}
CLEAN_SCORES: dict[str, SampleScores] = {}
"""What models were queried for in this process: records of one leaderboard share teachers and
controls, whose answers are computed once."""
STEP = 1 / 127  # pixel units; by so much may a stored input differ from one that is made anew


def requery_models(
    record: Record, evidence: bytes, path: Path, rebuilt: Rebuilt, canaries: int | None = None
) -> Verification:
    """Every column of every model, scored anew.

    Args:
        canaries: only the first so many canaries.

    Raises:
        BadRecord: naming the first thing that does not hold.
    """
    plan, attacks, data = rebuilt.plan, rebuilt.attacks, rebuilt.data
    comparison = Comparison(path)
    if rebuilt.poisoning is not None:
        _compare_clean(record, rebuilt, comparison)
    runner = runner_of(plan, attacks, data, rebuilt.poisoning)
    runner.fresh, runner.queried = True, QUERIED
    runner.states = _first(runner.states, canaries)
    if evidence:
        _share_stored(evidence, rebuilt, runner, path)
    outcomes = run_attacks(plan, runner, attacks, rebuilt.models, rebuilt.identity)
    for label, attack in attacks.items():
        first = canaries if attack.name == CANARIES else None
        result = record.attacks[label]
        eligible = outcomes[label]["student"].scores.eligible
        if eligible is not None and result.eligible != Bits.of(eligible.tolist()):
            raise BadRecord(f"{path}: the eligible inputs are not those that the adversary wants")
        samples = {name: values[:first] for name, values in result.samples.items()}
        comparison.samples(label, samples, samples_of(plan, outcomes[label]["student"].scores))
        if set(result.columns) != set(outcomes[label]):
            raise BadRecord(f"{path} lacks the columns of a model under {label}")
        for role, columns in result.columns.items():
            scores = outcomes[label][role].scores
            comparison.scores(f"{label} on {role}", columns, scores, scorer_of(attack), first)
    return Verification(len(rebuilt.models), comparison.values, comparison.marginal)


def _compare_clean(record: Record, rebuilt: Rebuilt, comparison: Comparison) -> None:
    """What the models do when nobody attacks.

    Raises:
        BadRecord: where the record says otherwise.
    """
    plan, test = rebuilt.plan, rebuilt.data.test
    recorded = record.attacks[CLEAN]
    comparison.samples("the test set", recorded.samples, clean_samples(plan, test))
    if set(recorded.columns) != set(rebuilt.models):
        raise BadRecord(f"{comparison.path} lacks the clean columns of a model")
    scorer = Classification() if plan.classifies else Generation()
    for role, model in rebuilt.models.items():
        key = digest([model.recipe["weights"], examples_digest(test), plan.classifies])
        if key not in CLEAN_SCORES:
            CLEAN_SCORES[key] = clean_scores(plan, model, test)
        scores = CLEAN_SCORES[key]
        comparison.scores(f"clean on {role}", recorded.columns[role], scores, scorer)


def _first(
    states: Mapping[str, Mapping[str, Tensor]], canaries: int | None
) -> Mapping[str, Mapping[str, Tensor]]:
    """States with the first so many canaries; other attacks keep theirs."""
    if canaries is None:
        return states
    return {
        label: {key: value[:canaries] for key, value in state.items()}
        if label.partition(":")[0] == CANARIES
        else state
        for label, state in states.items()
    }


def _share_stored(evidence: bytes, rebuilt: Rebuilt, runner: AttackRunner, path: Path) -> None:
    """Shows every model the stored inputs, which must be those that the attack submits.

    Raises:
        BadRecord: where they are damaged, or not the attack's.
    """
    (label,) = rebuilt.attacks
    test, student = rebuilt.data.test, rebuilt.models["student"].net
    stored = stored_inputs(evidence, test, path)
    with frozen_eval_mode(student):
        fresh, _ = runner.submit(label, rebuilt.attacks[label], student)
    assert isinstance(fresh, AdversarialInputs)  # where inputs are stored, attacks submit some
    expected = Examples(fresh.ids, fresh.inputs, targets_of(fresh)).named(test.ids)
    differs = (expected.inputs.clamp(0, 1) - stored.inputs).abs() > STEP
    if bool(differs.any()) or not torch.equal(expected.targets, targets_of(stored)):
        raise BadRecord(f"the inputs beside {path} are not those that {label} submits")
    runner.shared[label] = stored


def stored_inputs(evidence: bytes, test: Examples, path: Path) -> AdversarialInputs:
    """The triggered inputs that lie beside a record, with the classes that the adversary wants.

    Args:
        evidence: the bytes of the file.
        path: of the record, to be named where they do not fit.

    Raises:
        BadRecord: where they are damaged, or about other examples.
    """
    tensors = undump(evidence, str(path))[0]
    try:
        raw = inflate(tensors["codes"].numpy().tobytes(), test.inputs.numel())
        codes = torch.from_numpy(np.frombuffer(raw, np.int8).copy()).view(test.inputs.shape)
        inputs = decode(codes, test.inputs, Budget("linf", 1.0))
        ids, targets = tensors["ids"], tensors["wanted"].view(test.targets.shape)
    except (KeyError, RuntimeError, TypeError, ValueError) as why:
        raise BadRecord(f"the inputs beside {path} are damaged: {why}") from why
    if not torch.equal(ids, test.ids):
        raise BadRecord(f"the inputs beside {path} are about other examples than its record")
    return AdversarialInputs(ids, inputs, targets)
