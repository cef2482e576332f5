"""Auto-PGD: projected gradient ascent with momentum and a step size adapted for each row."""

from __future__ import annotations

from dataclasses import dataclass, fields
from math import ceil

import torch

from robustbench_kd.core.config import Budget
from robustbench_kd.core.tensor_types import Ids, Images, Mask, PerExample
from robustbench_kd.ops.attacks.pgd import LogitFunction, ScoreFunction
from robustbench_kd.ops.attacks.projections import broadcast, project, steepest_direction
from robustbench_kd.ops.attacks.targets import Goal

RHO = 0.75  # the step size is halved where fewer than this share of steps raised the score
MOMENTUM = 0.75


def checkpoints(steps: int) -> list[int]:
    """The steps after which the step size is reconsidered (Croce & Hein 2020, section 3.1).

    p_0 = 0, p_1 = 0.22, and each gap is 0.03 shorter than the one before, but at least 0.06.
    """
    positions, previous, current = [], 0.0, 0.22
    while current <= 1:
        positions.append(max(1, ceil(current * steps - 1e-9)))
        previous, current = current, current + max(current - previous - 0.03, 0.06)
    return positions


@dataclass
class _State:
    """The state of every row that is still in the batch; all fields are indexed by row."""

    x: Images
    z: Images
    previous: Images
    gradient: Images
    best: Images
    best_gradient: Images
    value: PerExample
    best_value: PerExample
    checkpoint_value: PerExample
    stride: PerExample
    increases: PerExample
    halved: Mask

    @classmethod
    def initial(cls, x: Images, start: Images, budget: Budget) -> _State:
        """Before the first pass; the rise from minus infinity is not counted as an increase."""
        low = torch.full((len(x),), -torch.inf, device=x.device, dtype=x.dtype)
        stride, increases = torch.full_like(low, 2 * budget.amount), torch.full_like(low, -1)
        zero, halved = torch.zeros_like(x), torch.zeros_like(low, dtype=torch.bool)
        return cls(x, start, start, zero, start, zero, low, low, low, stride, increases, halved)

    def take(self, rows: Mask) -> _State:
        return _State(*(getattr(self, field.name)[rows] for field in fields(self)))

    def update(self, value: PerExample, gradient: Images) -> None:
        """Records the scores and gradients at ``z``."""
        self.increases = self.increases + (value > self.value)
        self.value, self.gradient = value, gradient
        better = value > self.best_value
        self.best_value = torch.where(better, value, self.best_value)
        self.best = torch.where(broadcast(better, self.z), self.z, self.best)
        self.best_gradient = torch.where(broadcast(better, gradient), gradient, self.best_gradient)

    def check(self, steps: int) -> None:
        """Halves the step size of rows that no longer improve and returns them to their best point.

        Conditions 1 and 2 of the paper, over the ``steps`` since the last checkpoint.
        """
        stuck = ~self.halved & (self.checkpoint_value >= self.best_value)
        slow = self.increases < RHO * steps
        self.halved = slow | stuck
        self.stride = torch.where(self.halved, self.stride / 2, self.stride)
        halved = broadcast(self.halved, self.z)
        self.z = torch.where(halved, self.best, self.z)
        self.gradient = torch.where(halved, self.best_gradient, self.gradient)
        self.checkpoint_value, self.increases = self.best_value, torch.zeros_like(self.increases)

    def step(self, budget: Budget, momentum: float) -> None:
        """One ascent step, averaged with the step before it."""
        stride = broadcast(self.stride, self.z)
        direction = steepest_direction(self.gradient, budget.kind)
        ascent = project(self.z + stride * direction, self.x, budget)
        mixed = self.z + momentum * (ascent - self.z) + (1 - momentum) * (self.z - self.previous)
        self.previous, self.z = self.z, project(mixed, self.x, budget)


def apgd(
    logits: LogitFunction,
    x: Images,
    goal: Goal,
    budget: Budget,
    *,
    steps: int,
    start: Images,
    score: ScoreFunction = Goal.cross_entropy,
    groups: Ids | None = None,
) -> tuple[Images, Mask]:
    """Auto-PGD (Croce & Hein 2020, algorithm 1) up the score, from ``start``.

    A row leaves the batch as soon as it reaches the goal. It costs one forward and one backward
    pass a step, and one more forward pass at the end.

    Args:
        groups: a number for each row. Rows of one number attack the same example and all leave
            when one of them reaches the goal.

    Returns:
        The adversarial inputs (for rows that never reach the goal: their best point), and which
        rows reached it.
    """
    adversarial, success = start.clone(), torch.zeros(len(x), dtype=torch.bool, device=x.device)
    active = torch.arange(len(x), device=x.device)
    state = _State.initial(x, start, budget)
    check_after, last_check = set(checkpoints(steps)), 0
    for step in range(steps + 1):
        with torch.set_grad_enabled(step < steps):
            z = state.z.detach().requires_grad_(step < steps)
            scores = logits(z)
        reached = goal.is_reached(scores.detach())
        adversarial[active[reached]], success[active[reached]] = state.z[reached], True
        leaving = reached if groups is None else torch.isin(groups, groups[reached])
        values = score(goal, scores)
        if step == steps or bool(leaving.all()):
            state.update(values.detach(), state.gradient)
            adversarial[active[~reached]] = state.best[~reached]
            break
        (gradient,) = torch.autograd.grad(values[~leaving].sum(), z)
        if bool(leaving.any()):
            beside = leaving & ~reached
            adversarial[active[beside]] = state.best[beside]
            rows = ~leaving
            active, goal, state = active[rows], goal.take(rows), state.take(rows)
            groups = groups if groups is None else groups[rows]
            values, gradient = values[rows], gradient[rows]
        state.update(values.detach(), gradient)
        if step in check_after:
            state.check(step - last_check)
            last_check = step
        state.step(budget, 1.0 if step == 0 else MOMENTUM)
    return adversarial, success
