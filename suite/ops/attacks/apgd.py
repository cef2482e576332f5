"""Auto-PGD: projected ascent with momentum, whose step sizes answer to each row's own progress."""

from __future__ import annotations

from dataclasses import dataclass, fields
from math import ceil

import torch

from robustbench_kd.core.config import Budget
from robustbench_kd.core.tensor_types import Ids, Images, Mask, PerExample
from robustbench_kd.ops.attacks.pgd import Ask, Score
from robustbench_kd.ops.attacks.projections import project, spread, steepest
from robustbench_kd.ops.attacks.targets import Goal

ENOUGH = 0.75
MOMENTUM = 0.75


def checkpoints(steps: int) -> list[int]:
    """The steps after which the step size is looked at (Croce & Hein 2020, section 3.1).

    p_0 = 0, p_1 = 0.22, and each gap is 0.03 shorter than the one before, but at least 0.06.
    """
    turns, before, now = [], 0.0, 0.22
    while now <= 1:
        turns.append(max(1, ceil(now * steps - 1e-9)))
        before, now = now, now + max(now - before - 0.03, 0.06)
    return turns


@dataclass
class _Climb:
    """Where every row stands; the rows of all of these leave together."""

    x: Images
    z: Images
    before: Images
    gradient: Images
    best: Images
    best_gradient: Images
    value: PerExample
    best_value: PerExample
    checked_value: PerExample
    stride: PerExample
    rises: PerExample
    halved: Mask

    def take(self, keep: Mask) -> _Climb:
        return _Climb(*(getattr(self, field.name)[keep] for field in fields(self)))

    def see(self, value: PerExample, gradient: Images) -> None:
        """Takes in what the scores and gradients at ``z`` are."""
        self.rises = self.rises + (value > self.value)
        self.value, self.gradient = value, gradient
        better = value > self.best_value
        self.best_value = torch.where(better, value, self.best_value)
        self.best = torch.where(spread(better, self.z), self.z, self.best)
        self.best_gradient = torch.where(spread(better, gradient), gradient, self.best_gradient)

    def check(self, since: int) -> None:
        """Halves the step of rows that stopped rising, and takes them back to their best point."""
        stuck = ~self.halved & (self.checked_value >= self.best_value)
        slow = self.rises < ENOUGH * since
        self.halved = slow | stuck
        self.stride = torch.where(self.halved, self.stride / 2, self.stride)
        back = spread(self.halved, self.z)
        self.z = torch.where(back, self.best, self.z)
        self.gradient = torch.where(back, self.best_gradient, self.gradient)
        self.checked_value, self.rises = self.best_value, torch.zeros_like(self.rises)

    def step(self, budget: Budget, momentum: float) -> None:
        """One step up, mixed with the step before it."""
        stride = spread(self.stride, self.z)
        ahead = project(self.z + stride * steepest(self.gradient, budget.kind), self.x, budget)
        mixed = self.z + momentum * (ahead - self.z) + (1 - momentum) * (self.z - self.before)
        self.before, self.z = self.z, project(mixed, self.x, budget)


def apgd(
    logits: Ask,
    x: Images,
    goal: Goal,
    budget: Budget,
    *,
    steps: int,
    start: Images,
    score: Score = Goal.cross_entropy,
    kin: Ids | None = None,
) -> tuple[Images, Mask]:
    """Auto-PGD (Croce & Hein 2020, algorithm 1) up the score, from ``start``.

    A row that is won leaves the batch at once, and so do all rows of the same number in ``kin``
    (several rows may try one example). A row costs one forward and one backward pass a step, and
    one forward pass more at the end.

    Returns the found inputs (rows that were never won: their best point) and which were won.
    """
    found, won = start.clone(), torch.zeros(len(x), dtype=torch.bool, device=x.device)
    alive = torch.arange(len(x), device=x.device)
    climb = _fresh(x, start, budget)
    turns, last = set(checkpoints(steps)), 0
    for step in range(steps + 1):
        with torch.set_grad_enabled(step < steps):
            z = climb.z.detach().requires_grad_(step < steps)
            scores = logits(z)
        hit = goal.won(scores.detach())
        found[alive[hit]], won[alive[hit]] = climb.z[hit], True
        gone = hit if kin is None else torch.isin(kin, kin[hit])
        values = score(goal, scores)
        if step == steps or bool(gone.all()):
            climb.see(values.detach(), climb.gradient)
            found[alive[~hit]] = climb.best[~hit]
            break
        (gradient,) = torch.autograd.grad(values[~gone].sum(), z)
        if bool(gone.any()):
            found[alive[gone & ~hit]] = climb.best[gone & ~hit]
            keep = ~gone
            alive, goal, climb = alive[keep], goal.take(keep), climb.take(keep)
            kin = kin if kin is None else kin[keep]
            values, gradient = values[keep], gradient[keep]
        climb.see(values.detach(), gradient)
        if step in turns:
            climb.check(step - last)
            last = step
        climb.step(budget, 1.0 if step == 0 else MOMENTUM)
    return found, won


def _fresh(x: Images, start: Images, budget: Budget) -> _Climb:
    """Nothing seen yet; the first value rises from minus infinity, which is not a rise to count."""
    low = torch.full((len(x),), -torch.inf, device=x.device, dtype=x.dtype)
    stride, rises = torch.full_like(low, 2 * budget.amount), torch.full_like(low, -1)
    flat, never = torch.zeros_like(x), torch.zeros_like(low, dtype=torch.bool)
    return _Climb(x, start, start, flat, start, flat, low, low, low, stride, rises, never)
