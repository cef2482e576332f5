"""The minimum-norm attack of Carlini & Wagner 2017 for L2 (section VI.A), row by row."""

from __future__ import annotations

from collections.abc import Callable
from math import cos, pi

import torch

from robustbench_kd.core.tensor_types import Images, Logits, Mask, PerExample
from robustbench_kd.ops.attacks.projections import broadcast, distance
from robustbench_kd.ops.attacks.targets import Goal

# How far inside the box an input is moved before atanh. The authors' 1e-6 leaves black pixels where
# tanh is flat; in 200 steps they hardly leave, and norms come out half as large again.
INSIDE = 3e-3
UNBOUNDED = 1e10  # the upper end of the search over c as long as no c has succeeded


def carlini_wagner(
    logits: Callable[[Images], Logits],
    x: Images,
    goal: Goal,
    *,
    rounds: int,
    steps: int,
    learning_rate: float,
    c: float,
    kappa: float,
) -> tuple[Images, PerExample]:
    """The nearest inputs that reach the goal by more than ``kappa``, and their L2 norms.

    Each row searches its own weight of the goal against the norm: times ten until it first
    succeeds, then by bisection. A row that reaches the goal unperturbed has norm 0; one that never
    does, infinity. A row costs at most ``rounds * steps`` forward and as many backward passes, and
    one more forward.

    Args:
        rounds: values of the weight that are tried.
        c: the first of them.
    """
    with torch.no_grad():
        unreached = ~(goal.margin(logits(x)) > kappa)
    best, norm = x.clone(), torch.where(unreached, torch.inf, torch.zeros_like(x[:, 0, 0, 0]))
    rows = unreached.nonzero().squeeze(1)
    x, goal = x[rows], goal.take(rows)
    weight = torch.full_like(norm[rows], c)
    low, high = torch.zeros_like(weight), torch.full_like(weight, UNBOUNDED)
    for _ in range(rounds if len(rows) else 0):
        z, z_norm, reached = _minimise(
            logits, x, goal, weight, steps=steps, learning_rate=learning_rate, kappa=kappa
        )
        better = z_norm < norm[rows]
        best[rows[better]], norm[rows[better]] = z[better], z_norm[better]
        high = torch.where(reached, torch.minimum(high, weight), high)
        low = torch.where(reached, low, torch.maximum(low, weight))
        weight = torch.where(high < UNBOUNDED, (low + high) / 2, weight * 10)
    return best, norm


def _minimise(
    logits: Callable[[Images], Logits],
    x: Images,
    goal: Goal,
    weight: PerExample,
    *,
    steps: int,
    learning_rate: float,
    kappa: float,
) -> tuple[Images, PerExample, Mask]:
    """One round: Adam on |z - x|^2 + weight * max(kappa - margin, 0), with z = (tanh w + 1) / 2.

    Every tenth of the round, rows whose loss no longer falls leave the batch. The rate falls to
    zero along half a cosine: at a constant one, steps overshoot the boundary by their own length.
    For the same reason the third result says whether a row reached the goal in its last tenth, not
    ever: Adam's first step is as long under any weight, so it succeeds on near rows under weights
    that are far too small.
    """
    best, norm = x.clone(), torch.full_like(weight, torch.inf)
    active, previous = torch.arange(len(x), device=x.device), torch.full_like(weight, torch.inf)
    lowest, reached_late = previous, torch.zeros_like(norm, dtype=torch.bool)
    w = ((2 * x - 1) * (1 - INSIDE)).atanh()
    mean, square = torch.zeros_like(w), torch.zeros_like(w)
    for step in range(1, steps + 1):
        with torch.enable_grad():
            w = w.detach().requires_grad_(True)
            z = (w.tanh() + 1) / 2
            margin = goal.margin(logits(z))
            loss = (z - x).flatten(1).square().sum(1) + weight * (kappa - margin).clamp_min(0)
            (gradient,) = torch.autograd.grad(loss.sum(), w)
        z, loss = z.detach(), loss.detach()
        lowest, z_norm = torch.minimum(lowest, loss), distance(z, x, "l2")
        reached = margin.detach() > kappa
        reached_late[active[reached]] = True
        better = reached & (z_norm < norm[active])
        best[active[better]], norm[active[better]] = z[better], z_norm[better]
        mean, square = mean.lerp(gradient, 0.1), square.lerp(gradient.square(), 0.001)
        scale = (square / (1 - 0.999**step)).sqrt() + 1e-8
        rate = learning_rate * (1 + cos(pi * step / steps)) / 2
        w = w.detach() - rate * mean / (1 - 0.9**step) / scale
        if step < steps and step % max(steps // 10, 10) == 0:
            falling = lowest <= 0.9999 * previous
            if not bool(falling.any()):
                break
            reached_late[active[falling]] = False
            active, previous, weight = active[falling], loss[falling], weight[falling]
            x, w, goal = x[falling], w[falling], goal.take(falling)
            mean, square = mean[falling], square[falling]
            lowest = torch.full_like(weight, torch.inf)
    return best, norm, reached_late


def within_norm(z: Images, x: Images, norm: PerExample, amount: float) -> Images:
    """The inputs of norm at most ``amount``; ``x`` in place of the others."""
    return torch.where(broadcast(norm <= amount, z), z, x)
