"""Verify: one forward pass over the stored inputs, and the claim stands or falls."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from robustbench_kd.core.config import Budget
from robustbench_kd.core.errors import BadModel, BadRecord
from robustbench_kd.core.io import read_bytes
from robustbench_kd.core.protocols import Scenario
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.types import Examples
from robustbench_kd.evaluation.attack_runner import examples_digest
from robustbench_kd.evaluation.fingerprints import scenario_of, teacher_card
from robustbench_kd.models.statistics import weights_digest
from robustbench_kd.ops.attacks.gradients import held_still
from robustbench_kd.ops.attacks.projections import distance
from robustbench_kd.ops.losses import margin
from robustbench_kd.results.adversarial_examples import Proof, restore
from robustbench_kd.results.artifacts import Kept, find_net, undump
from robustbench_kd.results.planted import Planted
from robustbench_kd.results.record import Record, digest
from robustbench_kd.results.store import load_record

MARGINAL = 1e-3  # scores this close may fall either way on another machine


@dataclass(frozen=True)
class Replay:
    """What a replay confirmed: so many examples broken, so many left, so many too close to call."""

    broken: int
    robust: int
    marginal: int
    forward: int


def verify(path: Path, net: nn.Module | None = None) -> Replay:
    """Replays a record: digests, counts, ball, box, and every verdict.

    A replay proves that the examples counted as broken are broken: the robust accuracy is at most
    what the record says. That no attack could break more, nothing can prove.

    Args:
        path: the record; its evidence lies beside it.
        net: the network, where the record is about one that neither ships nor is kept.

    Raises:
        BadRecord: naming the first thing that does not hold.
        BadModel: where the network is not here, or is another than the record's.
    """
    record = load_record(path)
    raw = evidence_of(record, path)
    scenario = scenario_of(record.scenario)
    if net is None:
        net = network_of(record, scenario)
    elif weights_digest(net.state_dict()) != record.model["weights"]:
        raise BadModel(f"{path} is about other weights than the network that was given")
    clean = clean_of(record, scenario)
    budget = Budget(record.threat["norm"], record.threat["eps"])
    proof = restore(undump(raw, str(path))[0], clean, budget, f"beside {path}")
    _agrees(record, proof, path)
    if (record.evidence["rows"], record.evidence["bytes"]) != (len(proof.codes), len(raw)):
        raise BadRecord(f"{path} counts other evidence than lies beside it")
    inputs = proof.inputs(clean, budget)
    _within(inputs, clean, budget, path)
    with held_still(net):
        return _ask(record, scenario, net, clean, inputs, proof, path)


def evidence_of(record: Record, path: Path) -> bytes:
    """The file beside a record.

    Raises:
        BadRecord: where it cannot be read, or is another than the record's.
    """
    raw = read_bytes(path.with_suffix(".safetensors"))
    if hashlib.sha256(raw).hexdigest() != record.evidence.get("sha256"):
        raise BadRecord(f"the evidence beside {path} is not the one its record was made with")
    return raw


def network_of(record: Record, scenario: Scenario) -> nn.Module:
    """The network that a record is about, if it ships or is kept.

    Raises:
        BadModel: where it is not here.
        BadRecord: where other weights are kept under its key, or those of another architecture.
    """
    key = record.model["key"]
    kept = find_net(key) if key else _teacher(record, scenario)
    if kept is None:
        raise BadModel(
            f"the network of {record.label} (seed {record.seed}) is not kept here; "
            "give it by --model"
        )
    net = scenario.student(record.model["net"] if key else scenario.nets["teacher"], Seed())
    try:
        net.load_state_dict(kept.state)
    except RuntimeError as why:
        wrong = f"the weights kept of {record.label} fit no {record.model['net']}"
        raise BadRecord(wrong) from why
    if weights_digest(net.state_dict()) != record.model["weights"]:
        raise BadRecord(f"the record of {record.label} is about other weights than those kept")
    return net.eval()


def _teacher(record: Record, scenario: Scenario) -> Kept | None:
    """The scenario's teacher of these weights, if it is one: such are evaluated from a file."""
    for role in scenario.teaching:
        kept = find_net(teacher_card(scenario, role)["key"])
        if kept is not None and kept.card["weights"] == record.model["weights"]:
            return kept
    return None


def clean_of(record: Record | Planted, scenario: Scenario) -> Examples:
    """The untouched examples that a record is about.

    Raises:
        MissingData: where the data set is not here.
        BadRecord: where this machine has other ones.
    """
    test = scenario.splits(Seed(record.seed), whole=False).test
    test = test.take(torch.arange(min(record.data["count"], len(test))))
    known = (examples_digest(test), digest(test.ids.tolist()))
    if known != (record.data["examples"], record.data["ids"]):
        raise BadRecord(f"the record of {record.label} is about other images than the ones here")
    return test


def _agrees(record: Record, proof: Proof, path: Path) -> None:
    """The evidence breaks exactly the examples that the record calls broken though once right."""
    control = torch.tensor(record.cell("untouched").flags)
    broken = control & ~torch.tensor(record.flags)
    if not torch.equal(proof.broke >= 0, broken):
        raise BadRecord(f"{path}: the evidence and the bits name different examples as broken")
    for place, cell in enumerate(record.cells):
        by = proof.broke == place
        if bool((by & torch.tensor(cell.flags)).any()):
            raise BadRecord(f"{path}: {cell.attack} is credited with examples it did not break")


def _within(inputs: torch.Tensor, clean: Examples, budget: Budget, path: Path) -> None:
    spent = distance(inputs, clean.inputs, budget.kind)
    if bool((spent > budget.amount * (1 + 1e-6) + 1e-7).any()):
        raise BadRecord(f"{path}: a stored input lies outside of the ball")
    if bool((inputs < 0).any() or (inputs > 1).any()):
        raise BadRecord(f"{path}: a stored input lies outside of the box [0, 1]")


def _ask(
    record: Record,
    scenario: Scenario,
    net: nn.Module,
    clean: Examples,
    inputs: torch.Tensor,
    proof: Proof,
    path: Path,
) -> Replay:
    subject = scenario.subject(net)
    moved = proof.broke >= 0
    asked = torch.cat([clean.inputs, inputs[moved]])
    wanted = torch.cat([clean.targets, clean.targets[moved]])
    with torch.inference_mode():
        scores = torch.cat([subject.logits(part) for part in asked.split(500)])  # type: ignore[attr-defined]
    right = scenario.agree(scores.argmax(1), wanted)
    close = margin(scores, wanted).abs() < MARGINAL
    claimed = torch.tensor(record.cell("untouched").flags + [False] * int(moved.sum()))
    wrong = (right != claimed) & ~close
    if bool(wrong.any()):
        where = int(wrong.nonzero()[0])
        what = "an untouched" if where < len(clean) else "a stored"
        raise BadRecord(
            f"{path}: the network does not answer {what} input as the record says "
            f"({int(wrong.sum())} of {len(asked)})"
        )
    return Replay(
        broken=int(moved.sum()),
        robust=sum(record.flags),
        marginal=int(close.sum()),
        forward=len(asked),
    )
