"""The parts of AutoAttack: targets in order, targeted Auto-PGD, and the cascade of attacks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from robustbench_kd.core.config import Budget
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.tensor_types import Images, Labels, Logits, Mask, PerExample
from robustbench_kd.ops.attacks.apgd import apgd
from robustbench_kd.ops.attacks.pgd import LogitFunction, with_restarts
from robustbench_kd.ops.attacks.projections import TINY, uniform_start
from robustbench_kd.ops.attacks.targets import Goal
from robustbench_kd.ops.losses import targeted_difference_ratio

CascadeAttack = Callable[[Images, Goal, Images], tuple[Images, Mask]]
"""(clean inputs, goal, last inputs of the attack before) -> adversarial inputs, success."""


class AttackCascade:
    """Several attacks in turn, each on the rows that no attack has broken yet.

    Attributes:
        inputs: one input a row; where no attack succeeded, the last attack's best.
        stage: the number of the attack that broke each row, -1 where none did.
    """

    def __init__(self, x: Images, goal: Goal) -> None:
        self.x, self.goal, self.inputs = x, goal, x.clone()
        self.stage = torch.full((len(x),), -1, dtype=torch.int64, device=x.device)

    @property
    def remaining(self) -> int:
        """The number of rows that no attack has broken."""
        return int((self.stage < 0).sum())

    def run(self, stage: int, attack: CascadeAttack) -> int:
        """Attacks the remaining rows; returns how many it broke."""
        rows = (self.stage < 0).nonzero().squeeze(1)
        if len(rows) == 0:
            return 0
        z, success = attack(self.x[rows], self.goal.take(rows), self.inputs[rows])
        self.inputs[rows] = z.detach()
        self.stage[rows[success]] = stage
        return int(success.sum())


@dataclass(frozen=True)
class DirectedGoal(Goal):
    """The same goal, sought in the direction of one class a row, whichever class then succeeds."""

    directions: Labels = field(kw_only=True)

    def take(self, index: Tensor) -> DirectedGoal:
        goal = super().take(index)
        return DirectedGoal(goal.labels, goal.targets, directions=self.directions[index])

    @staticmethod
    def difference_ratio(goal: Goal, logits: Logits) -> PerExample:
        """The targeted DLR of the directions; below four classes, its numerator alone.

        There the ratio of a label that leads and a target that comes last is -1 whatever the
        input, so it has no gradient. The numerator needs no scale: Auto-PGD uses directions and
        comparisons only, which no positive factor changes.
        """
        assert isinstance(goal, DirectedGoal)
        if logits.shape[1] < 4:
            labels, targets = goal.labels[:, None], goal.directions[:, None]
            return (logits.gather(1, targets) - logits.gather(1, labels)).squeeze(1)
        return targeted_difference_ratio(logits, goal.labels, goal.directions)


def targets_by_score(logits: LogitFunction, x: Images, goal: Goal, limit: int) -> Tensor:
    """The other classes, the highest score first, as in APGD-T: (b, ``limit`` or fewer).

    For a targeted goal, the target is the only one.
    """
    if goal.targets is not None:
        return goal.targets[:, None]
    with torch.no_grad():
        scores = logits(x)
    order = scores.scatter(1, goal.labels[:, None], -torch.inf).argsort(1, descending=True)
    return order[:, : min(limit, scores.shape[1] - 1)]


def targets_by_distance(
    logits: LogitFunction, x: Images, goal: Goal, budget: Budget, limit: int
) -> Tensor:
    """The other classes, the nearest boundary of the linearised network first: (b, ``limit``).

    The distance is (z_y - z_c) / |gradient of z_y - z_c|, in the dual norm (MALT, Melamed et al.
    2024, section 3). Costs one forward pass a row and one backward pass for each of the classes
    considered, the 2 ``limit`` with the highest scores.
    """
    if goal.targets is not None:
        return goal.targets[:, None]
    labels = goal.labels[:, None]
    with torch.enable_grad():
        z = x.detach().requires_grad_()
        scores = logits(z)
        order = scores.detach().scatter(1, labels, -torch.inf).argsort(1, descending=True)
        order = order[:, : min(2 * limit, scores.shape[1] - 1)]
        gaps = scores.gather(1, labels) - scores.gather(1, order)
        slopes = [torch.autograd.grad(gap.sum(), z, retain_graph=True)[0] for gap in gaps.unbind(1)]
    dual = 1 if budget.kind == "linf" else 2
    steepness = torch.stack([slope.flatten(1).norm(dual, 1) for slope in slopes], 1)
    nearest = (gaps.detach() / steepness.clamp_min(TINY)).argsort(1)
    return order.gather(1, nearest)[:, :limit]


def apgd_targeted(
    logits: LogitFunction,
    x: Images,
    goal: Goal,
    order: Tensor,
    budget: Budget,
    *,
    steps: int,
    seed: Seed,
) -> tuple[Images, Mask]:
    """APGD-T: Auto-PGD on the targeted DLR, each target on the rows that are not broken yet.

    Args:
        order: the target classes of each row, first to last, (b, targets).
    """

    def attack(rows: Tensor, turn: int) -> tuple[Images, Mask]:
        part, rest = x[rows], goal.take(rows)
        directed = DirectedGoal(rest.labels, rest.targets, directions=order[rows, turn])
        start = uniform_start(part, budget, (seed / turn).generator())
        score = DirectedGoal.difference_ratio
        return apgd(logits, part, directed, budget, steps=steps, start=start, score=score)

    return with_restarts(attack, x, order.shape[1])


def apgd_targeted_pooled(
    logits: LogitFunction,
    x: Images,
    goal: Goal,
    order: Tensor,
    budget: Budget,
    *,
    steps: int,
    seed: Seed,
) -> tuple[Images, Mask]:
    """The same, with all targets of all rows in one batch.

    As soon as one target of an example succeeds, its other targets leave the batch.
    """
    count = order.shape[1]
    examples = torch.arange(len(x), device=x.device)
    groups = examples.repeat_interleave(count)
    start = uniform_start(x[groups], budget, seed.generator())
    rest = goal.take(groups)
    z, success = apgd(
        logits,
        x[groups],
        DirectedGoal(rest.labels, rest.targets, directions=order.flatten()),
        budget,
        steps=steps,
        start=start,
        score=DirectedGoal.difference_ratio,
        groups=groups,
    )
    by_example = success.view(-1, count)
    return z[by_example.int().argmax(1) + count * examples], by_example.any(1)
