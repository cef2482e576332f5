"""A weaker defense, or a weaker attack? Each network is asked about what broke the other.

A stored adversarial input is a certificate: it breaks a network or it does not, whoever found it.
An example that a panel left standing and that the other side's input breaks was only missed.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from pathlib import Path

import torch
from torch import nn

from robustbench_kd.core.config import Budget
from robustbench_kd.core.protocols import Scenario
from robustbench_kd.core.registry import board_of
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.tensor_types import Mask
from robustbench_kd.core.types import Examples
from robustbench_kd.evaluation.attack_runner import Trial, attack_of, attempt, fingerprint, within
from robustbench_kd.evaluation.fingerprints import scenario_of
from robustbench_kd.evaluation.verification import MARGINAL, clean_of, evidence_of, network_of
from robustbench_kd.models.statistics import weights_digest
from robustbench_kd.ops.attacks.gradients import held_still
from robustbench_kd.ops.losses import margin
from robustbench_kd.regression.decision import Rematch
from robustbench_kd.regression.snapshot import CONTROL
from robustbench_kd.results.adversarial_examples import Proof, restore
from robustbench_kd.results.artifacts import undump
from robustbench_kd.results.record import Record
from robustbench_kd.results.store import load_record


@dataclass(frozen=True)
class Side:
    """A record with its network and the inputs that broke it."""

    record: Record
    net: nn.Module
    scenario: Scenario
    clean: Examples
    proof: Proof
    yours: bool

    @property
    def robust(self) -> Mask:
        return torch.tensor(self.record.flags)


def rematch(old: Path, new: Path, seeds: int = 0, net: nn.Module | None = None) -> Rematch:
    """Both sides after each was asked about the other's inputs, and tried anew where they differ.

    Both corrections are made on either side alike, so that two networks of the same strength lose
    as much by them, and a paired test keeps its level.

    Args:
        old: the earlier record; the evidence lies beside it.
        new: the later one, of the same examples and threat.
        seeds: so many fresh seeds of the whole panel try what still differs: examples that were
            lost on the old network, those won on the new one.
        net: the network of ``new`` (and of ``old``, where that has the same weights), if it neither
            ships nor is kept.

    Raises:
        BadModel: where a network is not here.
        BadRecord: where a record or its evidence is damaged.
    """
    one, other = _side(old, net), _side(new, net)
    mine = one.robust & ~_broken(one, other.proof)
    theirs = other.robust & ~_broken(other, one.proof)
    missed = int((one.robust & ~mine).sum()), int((other.robust & ~theirs).sum())
    fell = _anew(one, mine & ~theirs, seeds), _anew(other, theirs & ~mine, seeds)
    mine, theirs = mine & ~fell[0], theirs & ~fell[1]
    dissolved = int(fell[0].sum()), int(fell[1].sum())
    return Rematch(tuple(mine.tolist()), tuple(theirs.tolist()), missed, dissolved, seeds)


def _side(path: Path, given: nn.Module | None) -> Side:
    record = load_record(path)
    raw = evidence_of(record, path)
    scenario = scenario_of(record.scenario)
    clean = clean_of(record, scenario)
    proof = restore(undump(raw, str(path))[0], clean, _ball(record), f"beside {path}")
    yours = given is not None and weights_digest(given.state_dict()) == record.model["weights"]
    net = given if given is not None and yours else network_of(record, scenario)
    return Side(record, net, scenario, clean, proof, yours)


def _ball(record: Record) -> Budget:
    return Budget(record.threat["norm"], record.threat["eps"])


def _broken(side: Side, by: Proof) -> Mask:
    """Which examples that a side's own panel left standing the other side's inputs break."""
    rows = side.robust & (by.broke >= 0)
    broken = torch.zeros_like(rows)
    if not bool(rows.any()):
        return broken
    inputs = by.inputs(side.clean, _ball(side.record))[rows]
    subject = side.scenario.subject(side.net)
    with held_still(side.net), torch.inference_mode():
        scores = torch.cat([subject.logits(part) for part in inputs.split(500)])  # type: ignore[attr-defined]
    # Scores that may fall either way on another machine break nobody.
    broken[rows] = margin(scores, side.clean.targets[rows]) < -MARGINAL
    return broken


def _anew(side: Side, rows: Mask, seeds: int) -> Mask:
    """Which of these examples fall to the side's own panel under fresh seeds."""
    fell = torch.zeros_like(rows)
    board = within(board_of(side.record.board), side.record.threat["eps"])
    panel = [cell.attack for cell in side.record.cells if cell.attack != CONTROL]
    with held_still(side.net):
        subject = side.scenario.subject(side.net)
        answers = fingerprint(subject, side.clean) if side.yours and seeds else None  # type: ignore[arg-type]
        for n, text in product(range(seeds), panel):
            left = (rows & ~fell).nonzero().flatten()
            if len(left) == 0:
                break
            seed = (Seed(side.record.seed) / "confirm" / n).number()
            test = side.clean.take(left)
            weights = side.record.model["weights"]
            trial = Trial(side.scenario, side.net, weights, test, seed, answers)
            fell[left] = ~attempt(trial, text, attack_of(text, board)).right
    return fell
