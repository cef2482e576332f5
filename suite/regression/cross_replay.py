"""A weaker student, or a weaker attack? Each network is queried with what broke the other.

A stored adversarial input is a certificate: it breaks a network or it does not, whichever attack
made it. An example that a panel left standing and that the other side's input breaks was missed.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from pathlib import Path

import torch
from torch import nn

from robustbench_kd.core.protocols import Scenario, WhiteBoxModel
from robustbench_kd.core.registry import board_of
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.tensor_types import Mask
from robustbench_kd.core.types import Examples, Splits
from robustbench_kd.evaluation.attack_runner import AttackRunner
from robustbench_kd.evaluation.entries import attack_of, scenario_of, with_eps
from robustbench_kd.evaluation.identity import fingerprint
from robustbench_kd.evaluation.replay import (
    MARGINAL,
    budget_of,
    clean_examples,
    load_student,
    stored_examples,
)
from robustbench_kd.models.statistics import weights_digest
from robustbench_kd.ops.attacks.gradients import frozen_eval_mode
from robustbench_kd.ops.losses import margin
from robustbench_kd.regression.decision import CrossReplay
from robustbench_kd.results.adversarial_examples import AdversarialExamples
from robustbench_kd.results.record import Record
from robustbench_kd.results.store import read_evidence, read_record

BATCH = 500


@dataclass(frozen=True)
class Side:
    """A record with its network and the inputs that broke it.

    Attributes:
        user_model: whether the network was given, so that its weights do not tell its code.
    """

    record: Record
    net: nn.Module
    scenario: Scenario
    clean: Examples
    broken: AdversarialExamples
    user_model: bool

    @property
    def robust(self) -> Mask:
        return torch.tensor(self.record.robust.flags)


def cross_replay(old: Path, new: Path, seeds: int = 0, net: nn.Module | None = None) -> CrossReplay:
    """Both sides after each was queried with the other's inputs, and attacked with fresh seeds.

    Both corrections are made on either side alike, so that two networks of the same strength lose
    as much by them, and a paired test keeps its level.

    Args:
        old: the earlier record of attacks on test data, its stored inputs beside it.
        new: the later one, of the same examples and threat.
        seeds: how many fresh seeds of the whole panel try what still differs: examples that were
            lost on the old network, those won on the new one.
        net: the network of ``new`` (and of ``old``, where that has the same weights), if it neither
            ships nor is stored.

    Raises:
        BadModel: where a network is not here.
        BadRecord: where a record or its stored inputs are damaged.
    """
    before, after = _side(old, net), _side(new, net)
    left = before.robust & ~_broken(before, after.broken)
    right = after.robust & ~_broken(after, before.broken)
    missed = int((before.robust & ~left).sum()), int((after.robust & ~right).sum())
    fell = _fresh_seeds(before, left & ~right, seeds), _fresh_seeds(after, right & ~left, seeds)
    left, right = left & ~fell[0], right & ~fell[1]
    dissolved = int(fell[0].sum()), int(fell[1].sum())
    return CrossReplay(tuple(left.tolist()), tuple(right.tolist()), missed, dissolved, seeds)


def _side(path: Path, given: nn.Module | None) -> Side:
    record = read_record(path)
    scenario = scenario_of(record.scenario)
    evidence = read_evidence(record, path)
    clean = clean_examples(record, scenario)
    broken = stored_examples(record, evidence, clean, path)
    weights = record.student["weights"]
    user_model = given is not None and weights_digest(given.state_dict()) == weights
    net = given if given is not None and user_model else load_student(record, scenario)
    return Side(record, net, scenario, clean, broken, user_model)


def _broken(side: Side, other: AdversarialExamples) -> Mask:
    """Which examples that a side's own panel left standing the other side's inputs break."""
    rows = side.robust & (other.broken_by >= 0)
    broken = torch.zeros_like(rows)
    if not bool(rows.any()):
        return broken
    inputs = other.inputs(side.clean, budget_of(side.record))[rows]
    model = _white_box(side)
    with frozen_eval_mode(side.net), torch.inference_mode():
        logits = torch.cat([model.logits(part) for part in inputs.split(BATCH)])
    # A margin that may have the other sign on another machine breaks nothing.
    broken[rows] = margin(logits, side.clean.targets[rows]) < -MARGINAL
    return broken


def _white_box(side: Side) -> WhiteBoxModel:
    model = side.scenario.target_model(side.net)
    assert isinstance(model, WhiteBoxModel)
    return model


def _fresh_seeds(side: Side, rows: Mask, seeds: int) -> Mask:
    """Which of these examples fall to the side's own panel under fresh seeds."""
    fell = torch.zeros_like(rows)
    board = with_eps(board_of(side.record.board), side.record.threat["eps"])
    weights = side.record.student["weights"]
    with frozen_eval_mode(side.net):
        answers = fingerprint(_white_box(side), side.clean) if side.user_model and seeds else None
        for n, label in product(range(seeds), side.record.attack_labels):
            remaining = (rows & ~fell).nonzero().flatten()
            if len(remaining) == 0:
                break
            test = side.clean.take(remaining)
            empty = test.take(test.ids[:0])
            seed = (Seed(side.record.seed) / "confirm" / n).number()
            runner = AttackRunner(side.scenario, Splits(empty, empty, test), seed)
            outcome = runner.run(label, attack_of(label, board), side.net, weights, answers)
            fell[remaining] = ~outcome.scores.columns["correct"].bool()
    return fell
