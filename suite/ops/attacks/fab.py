"""The fast adaptive boundary attack, one class at a time (Croce & Hein 2020, algorithm 1)."""

from __future__ import annotations

from collections.abc import Callable

import torch

from robustbench_kd.core.config import Budget, Norm
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.tensor_types import Images, Labels, Logits, Mask, PerExample
from robustbench_kd.ops.attacks.projections import TINY, distance, length, spread, uniform_start
from robustbench_kd.ops.attacks.targets import Goal

ALPHA_MAX, ETA, BETA = 0.1, 1.05, 0.9  # section 4 of the paper


def fab_targeted(
    logits: Callable[[Images], Logits],
    x: Images,
    y: Labels,
    target: Labels,
    budget: Budget,
    *,
    steps: int,
    seed: Seed,
    restart: int = 0,
    only_target: bool = False,
) -> tuple[Images, Mask]:
    """Walks along the boundary between label and target, ever nearer to ``x``.

    The paper minimises the norm; here a row that is wrong within the ball is won and leaves the
    batch at once. A row costs two forward passes and one backward pass a step.

    Args:
        restart: 0 starts at ``x`` itself, any other at its own random point of half the ball.
        only_target: whether only the target counts as won, not any class but the label; the
            boundary is then the one with the target's strongest rival.

    Returns:
        Won inputs, which lie in ball and box (rows never won: ``x``), and which were won.
    """
    goal = Goal(y, target if only_target else None)
    found, won = x.clone(), torch.zeros(len(x), dtype=torch.bool, device=x.device)
    alive = torch.arange(len(x), device=x.device)
    half, z = Budget(budget.kind, budget.amount / 2), x
    if restart:
        z = uniform_start(x, half, (seed / "fab" / restart).generator())
    for step in range(steps + 1):
        with torch.set_grad_enabled(step < steps):
            z = z.detach().requires_grad_(step < steps)
            scores = logits(z)
        hit = goal.won(scores.detach()) & (distance(z.detach(), x, budget.kind) <= budget.amount)
        found[alive[hit]], won[alive[hit]] = z.detach()[hit], True
        if step == steps or bool(hit.all()):
            break
        gap, slope = _boundary(scores, z, y, target, only_target)
        x, y, target, alive, goal = x[~hit], y[~hit], target[~hit], alive[~hit], goal.take(~hit)
        z = _stride(z.detach()[~hit], x, gap[~hit], slope[~hit], budget.kind)
        with torch.no_grad():
            wrong = goal.won(logits(z))
        far = wrong & (distance(z, x, budget.kind) > budget.amount)
        z = torch.where(spread(far, z), x + BETA * (z - x), z)
    return found, won


def onto_plane(z: Images, gap: PerExample, slope: Images, kind: Norm) -> Images:
    """The shortest move from ``z`` within the box to where ``gap + <slope, move>`` is zero.

    Each pixel moves by min(t, its room) for Linf, by min(t |slope|, its room) for L2, against the
    gap; what is gained is concave and piecewise linear in t, so Newton's method from t = 0 never
    overshoots and ends after as many steps as it meets kinks, which are few. Where the plane lies
    outside the box, every pixel with a slope goes to the wall (the paper, section 2.2).
    """
    step = -slope.flatten(1) * gap.sign()[:, None]
    flat, pull = z.flatten(1), step.abs()
    room = torch.where(step > 0, 1 - flat, flat)
    rate = torch.ones_like(pull) if kind == "linf" else pull
    need, t = gap.abs(), torch.zeros_like(gap)
    for _ in range(30):
        free = t[:, None] * rate < room
        gained = (pull * torch.where(free, t[:, None] * rate, room)).sum(1)
        gain = (pull * rate * free).sum(1)
        short = (need - gained) / gain.clamp_min(TINY)
        if not bool(((short > 1e-6 * t) & (gain > 0)).any()):
            break
        t = t + torch.where(gain > 0, short, 0.0).clamp_min(0)
    return (step.sign() * torch.minimum(t[:, None] * rate, room)).view_as(z)


def _boundary(
    scores: Logits, z: Images, y: Labels, target: Labels, only_target: bool
) -> tuple[PerExample, Images]:
    """How far the target leads its rival, and the gradient of that in the inputs alone."""
    rival = y
    if only_target:
        rival = scores.detach().scatter(1, target[:, None], -torch.inf).argmax(1)
    with torch.enable_grad():
        gap = scores.gather(1, target[:, None]) - scores.gather(1, rival[:, None])
        (slope,) = torch.autograd.grad(gap.sum(), z)
    return gap.detach().squeeze(1), slope


def _stride(z: Images, x: Images, gap: PerExample, slope: Images, kind: Norm) -> Images:
    """From ``z`` past the plane, drawn towards the point of the plane nearest to ``x`` (eq. 9)."""
    at_x = gap + ((x - z) * slope).flatten(1).sum(1)
    ours, origins = onto_plane(z, gap, slope, kind), onto_plane(x, at_x, slope, kind)
    far, near = length(ours, kind), length(origins, kind)
    alpha = spread((far / (far + near).clamp_min(TINY)).clamp_max(ALPHA_MAX), z)
    return ((1 - alpha) * (z + ETA * ours) + alpha * (x + ETA * origins)).clamp(0, 1)


__all__ = ["fab_targeted", "onto_plane"]
