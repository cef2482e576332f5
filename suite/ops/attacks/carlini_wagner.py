"""The minimum-norm attack of Carlini & Wagner 2017 for L2 (section VI.A), row by row."""

from __future__ import annotations

from collections.abc import Callable
from math import cos, pi

import torch

from robustbench_kd.core.tensor_types import Images, Logits, Mask, PerExample
from robustbench_kd.ops.attacks.projections import distance, spread
from robustbench_kd.ops.attacks.targets import Goal

# How far inside the box an input is moved before atanh. The authors' 1e-6 leaves black pixels where
# tanh is flat; in 200 steps they hardly leave, and norms come out half as large again.
INSIDE = 3e-3
CEILING = 1e10  # an upper end of the search over c that stands for none


def carlini_wagner(
    logits: Callable[[Images], Logits],
    x: Images,
    goal: Goal,
    *,
    rounds: int,
    steps: int,
    rate: float,
    c: float,
    kappa: float,
) -> tuple[Images, PerExample]:
    """The nearest inputs found that reach the goal by more than ``kappa``, and their L2 norms.

    Each row searches its own weight of the goal against the norm: tenfold until it first succeeds,
    then by halves. A row that is won as it stands has norm 0; one that never is won, infinity.
    A row costs at most ``rounds * steps`` forward and as many backward passes, and one forward.
    """
    with torch.no_grad():
        lost = ~(goal.lead(logits(x)) > kappa)
    found, norm = x.clone(), torch.where(lost, torch.inf, torch.zeros_like(x[:, 0, 0, 0]))
    rows = lost.nonzero().squeeze(1)
    x, goal = x[rows], goal.take(rows)
    weight = torch.full_like(norm[rows], c)
    low, high = torch.zeros_like(weight), torch.full_like(weight, CEILING)
    for _ in range(rounds if len(rows) else 0):
        z, spent, hit = _descend(logits, x, goal, weight, steps=steps, rate=rate, kappa=kappa)
        better = spent < norm[rows]
        found[rows[better]], norm[rows[better]] = z[better], spent[better]
        high = torch.where(hit, torch.minimum(high, weight), high)
        low = torch.where(hit, low, torch.maximum(low, weight))
        weight = torch.where(high < CEILING, (low + high) / 2, weight * 10)
    return found, norm


def _descend(
    logits: Callable[[Images], Logits],
    x: Images,
    goal: Goal,
    weight: PerExample,
    *,
    steps: int,
    rate: float,
    kappa: float,
) -> tuple[Images, PerExample, Mask]:
    """One round: Adam on |z - x|^2 + weight * max(kappa - lead, 0), with z = (tanh w + 1) / 2.

    Every tenth of the round, rows whose loss no longer falls leave the batch. The rate falls to
    zero along half a cosine: at a constant one, steps overshoot the boundary by their own length.
    For the same reason the search is told whether a row was won in its last tenth (the third
    result), not ever: Adam's first step is as long under any weight, so it wins near rows under
    weights that are far too small.
    """
    found, norm = x.clone(), torch.full_like(weight, torch.inf)
    alive, before = torch.arange(len(x), device=x.device), torch.full_like(weight, torch.inf)
    least, late = before, torch.zeros_like(norm, dtype=torch.bool)
    w = ((2 * x - 1) * (1 - INSIDE)).atanh()
    mean, square = torch.zeros_like(w), torch.zeros_like(w)
    for step in range(1, steps + 1):
        with torch.enable_grad():
            w = w.detach().requires_grad_(True)
            z = (w.tanh() + 1) / 2
            lead = goal.lead(logits(z))
            loss = (z - x).flatten(1).square().sum(1) + weight * (kappa - lead).clamp_min(0)
            (slope,) = torch.autograd.grad(loss.sum(), w)
        z, loss = z.detach(), loss.detach()
        least, spent = torch.minimum(least, loss), distance(z, x, "l2")
        hit = lead.detach() > kappa
        late[alive[hit]] = True
        better = hit & (spent < norm[alive])
        found[alive[better]], norm[alive[better]] = z[better], spent[better]
        mean, square = mean.lerp(slope, 0.1), square.lerp(slope.square(), 0.001)
        scale = (square / (1 - 0.999**step)).sqrt() + 1e-8
        pace = rate * (1 + cos(pi * step / steps)) / 2
        w = w.detach() - pace * mean / (1 - 0.9**step) / scale
        if step < steps and step % max(steps // 10, 10) == 0:
            on = least <= 0.9999 * before
            if not bool(on.any()):
                break
            late[alive[on]] = False
            alive, before, x, w, weight = alive[on], loss[on], x[on], w[on], weight[on]
            least = torch.full_like(weight, torch.inf)
            mean, square, goal = mean[on], square[on], goal.take(on)
    return found, norm, late


def within(z: Images, x: Images, norm: PerExample, amount: float) -> Images:
    """The found inputs whose norm is at most ``amount``; ``x`` for the others."""
    return torch.where(spread(norm <= amount, z), z, x)
