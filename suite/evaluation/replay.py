"""Replay of attacks on test data: the stored inputs are shown to the student again."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from robustbench_kd.core.config import Budget, ThreatModel
from robustbench_kd.core.errors import BadModel, BadRecord
from robustbench_kd.core.protocols import Scenario, ScoringContext
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.submissions import AdversarialInputs
from robustbench_kd.core.types import Examples, SampleScores, Splits
from robustbench_kd.evaluation.attack_runner import examples_digest
from robustbench_kd.evaluation.fingerprints import teacher_recipe
from robustbench_kd.evaluation.rebuild import Rebuilt
from robustbench_kd.evaluation.scorers.classification import Classification
from robustbench_kd.evaluation.verified import Comparison, Verification
from robustbench_kd.models.statistics import weights_digest
from robustbench_kd.ops.attacks.gradients import frozen_eval_mode
from robustbench_kd.ops.attacks.projections import distance
from robustbench_kd.results.adversarial_examples import AdversarialExamples, parse
from robustbench_kd.results.artifacts import StoredModel, find_model, undump
from robustbench_kd.results.record import CLEAN, Record, digest

MARGINAL = 1e-3  # scores this close may fall either way on another machine
WHOLE_TEST_SET = "attacks on the whole test set, whose inputs are not stored"


def replay_test_data(record: Record, evidence: bytes, path: Path, rebuilt: Rebuilt) -> Verification:
    """Scores the clean inputs and those that broke the student once more.

    Raises:
        BadRecord: naming the first thing that does not hold.
    """
    clean, budget = rebuilt.data.test, budget_of(record)
    net, scenario = rebuilt.models["student"].net, rebuilt.plan.scenario
    examples = stored_examples(record, evidence, clean, path)
    _expect_agreement(record, examples, path)
    if (record.evidence["rows"], record.evidence["bytes"]) != (len(examples.codes), len(evidence)):
        raise BadRecord(f"{path} counts other evidence than lies beside it")
    inputs = examples.inputs(clean, budget)
    _expect_within(inputs, clean, budget, path)
    moved = examples.broken_by >= 0
    comparison = Comparison(path)
    with frozen_eval_mode(net):
        plain = _scores(scenario, net, clean, clean.inputs, budget)
        recorded = record.attacks[CLEAN].columns["student"]
        comparison.scores("the clean inputs", recorded, plain, Classification())
        broken = _scores(scenario, net, clean.take(moved), inputs[moved], budget)
        comparison.column(
            "correct of the stored inputs",
            tuple([0.0] * int(moved.sum())),
            broken.columns["correct"],
            Classification(),
            broken.undecided,
        )
    return Verification(
        models=1,
        values=comparison.values,
        marginal=comparison.marginal,
        broken=int(moved.sum()),
        robust=record.robust.number.bit_count(),
        not_checkable=(WHOLE_TEST_SET,) if record.full_test else (),
    )


def _scores(
    scenario: Scenario, net: nn.Module, clean: Examples, inputs: torch.Tensor, budget: Budget
) -> SampleScores:
    """The classification scorer's columns of these inputs."""
    threat = ThreatModel("evasion", "test_data", "white_box", budget)
    empty = clean.take(clean.ids[:0])
    context = ScoringContext(threat, scenario, Splits(empty, empty, clean))
    if len(clean) == 0:
        none = torch.zeros(0, dtype=torch.bool)
        return SampleScores(clean.ids, {"correct": none}, undecided=none)
    submission = AdversarialInputs(clean.ids, inputs)
    return Classification().score(submission, scenario.target_model(net), context)


def budget_of(record: Record) -> Budget:
    """The budget of a record of attacks on test data."""
    return Budget(record.threat["norm"], record.threat["eps"])


def stored_examples(
    record: Record, evidence: bytes, clean: Examples, path: Path
) -> AdversarialExamples:
    """The stored inputs of a record.

    Raises:
        BadRecord: where they are damaged or about other examples.
    """
    tensors = undump(evidence, str(path))[0]
    return parse(tensors, clean, budget_of(record), f"beside {path}")


def load_student(record: Record, scenario: Scenario) -> nn.Module:
    """The network that a record is about, if it ships or is stored.

    Raises:
        BadModel: where it is not here.
        BadRecord: where other weights are stored under its key, or those of another architecture.
    """
    student = record.student
    key = student["recipe_digest"]
    stored = find_model(key) if key else _teacher(record, scenario)
    if stored is None:
        raise BadModel(
            f"the network of {record.label} (seed {record.seed}) is not stored here; give it by "
            "--model"
        )
    name = student["architecture"] if key else scenario.architectures["teacher"]
    net = scenario.student(name, Seed())
    try:
        net.load_state_dict(stored.state)
    except RuntimeError as why:
        wrong = f"the weights stored of {record.label} fit no {student['architecture']}"
        raise BadRecord(wrong) from why
    if weights_digest(net.state_dict()) != student["weights"]:
        raise BadRecord(f"the record of {record.label} is about other weights than those stored")
    return net.eval()


def _teacher(record: Record, scenario: Scenario) -> StoredModel | None:
    """The scenario's teacher of these weights, if it is one: such are evaluated from a file."""
    for role in scenario.teacher_schedules:
        stored = find_model(teacher_recipe(scenario, role)["key"])
        if stored is not None and stored.metadata["weights"] == record.student["weights"]:
            return stored
    return None


def clean_examples(record: Record, scenario: Scenario) -> Examples:
    """The clean examples that a record is about.

    Raises:
        MissingData: where the data set is not here.
        BadRecord: where this machine has other ones.
    """
    test = scenario.splits(Seed(record.seed), whole=False).test
    test = test.take(torch.arange(min(record.data["count"], len(test))))
    ids = record.data.get("ids", digest(test.ids.tolist()))
    if (examples_digest(test), digest(test.ids.tolist())) != (record.data["examples"], ids):
        raise BadRecord(f"the record of {record.label} is about other test data than those here")
    return test


def _expect_agreement(record: Record, examples: AdversarialExamples, path: Path) -> None:
    """The evidence breaks exactly the examples that the record calls broken though once correct."""
    correct = {
        label: torch.tensor(record.bits(label, "student", "correct").flags)
        for label in record.attacks
    }
    broken = correct[CLEAN] & ~torch.tensor(record.robust.flags)
    if not torch.equal(examples.broken_by >= 0, broken):
        raise BadRecord(f"{path}: evidence and columns name different examples as broken")
    for place, (label, flags) in enumerate(correct.items()):
        if bool(((examples.broken_by == place) & flags).any()):
            raise BadRecord(f"{path}: {label} is credited with examples that it did not break")


def _expect_within(inputs: torch.Tensor, clean: Examples, budget: Budget, path: Path) -> None:
    moved = distance(inputs, clean.inputs, budget.kind)
    if bool((moved > budget.amount * (1 + 1e-6) + 1e-7).any()):
        raise BadRecord(f"{path}: a stored input lies outside of the ball")
    if bool((inputs < 0).any() or (inputs > 1).any()):
        raise BadRecord(f"{path}: a stored input lies outside of the box [0, 1]")
