"""The fast adaptive boundary attack, one class at a time (Croce & Hein 2020, algorithm 1)."""

from __future__ import annotations

from collections.abc import Callable

import torch

from robustbench_kd.core.config import Budget, Norm
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.tensor_types import Images, Labels, Logits, Mask, PerExample
from robustbench_kd.ops.attacks.projections import (
    TINY,
    broadcast,
    distance,
    lp_norm,
    uniform_start,
)
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
    """Moves along the decision boundary between label and target, ever nearer to ``x``.

    The paper minimises the norm; here a row leaves the batch as soon as it is misclassified within
    the ball. A row costs two forward passes and one backward pass a step.

    Args:
        restart: 0 starts at ``x`` itself, any other at its own random point of half the ball.
        only_target: whether only the target counts as success, not any class but the label; the
            boundary is then that between the target and its strongest rival.

    Returns:
        The adversarial inputs, which lie in ball and box (``x`` for rows without success), and
        which rows succeeded.
    """
    goal = Goal(y, target if only_target else None)
    adversarial, success = x.clone(), torch.zeros(len(x), dtype=torch.bool, device=x.device)
    active = torch.arange(len(x), device=x.device)
    half, z = Budget(budget.kind, budget.amount / 2), x
    if restart:
        z = uniform_start(x, half, (seed / "fab" / restart).generator())
    for step in range(steps + 1):
        with torch.set_grad_enabled(step < steps):
            z = z.detach().requires_grad_(step < steps)
            scores = logits(z)
        inside = distance(z.detach(), x, budget.kind) <= budget.amount
        reached = goal.is_reached(scores.detach()) & inside
        adversarial[active[reached]], success[active[reached]] = z.detach()[reached], True
        if step == steps or bool(reached.all()):
            break
        gap, slope = _boundary(scores, z, y, target, only_target)
        rest = ~reached
        x, y, target, active, goal = x[rest], y[rest], target[rest], active[rest], goal.take(rest)
        z = _step(z.detach()[rest], x, gap[rest], slope[rest], budget.kind)
        with torch.no_grad():
            misclassified = goal.is_reached(logits(z))
        outside = misclassified & (distance(z, x, budget.kind) > budget.amount)
        z = torch.where(broadcast(outside, z), x + BETA * (z - x), z)
    return adversarial, success


def onto_plane(z: Images, gap: PerExample, slope: Images, kind: Norm) -> Images:
    """The shortest move from ``z`` within the box to where ``gap + <slope, move>`` is zero.

    Each pixel moves by min(t, its room) for Linf, by min(t |slope|, its room) for L2, against the
    gap; the gain is concave and piecewise linear in t, so Newton's method from t = 0 never
    overshoots and ends after as many steps as it meets kinks, which are few. Where the plane lies
    outside the box, every pixel with a slope moves to the wall (the paper, section 2.2).
    """
    step = -slope.flatten(1) * gap.sign()[:, None]
    flat, steepness = z.flatten(1), step.abs()
    room = torch.where(step > 0, 1 - flat, flat)
    rate = torch.ones_like(steepness) if kind == "linf" else steepness
    need, t = gap.abs(), torch.zeros_like(gap)
    for _ in range(30):
        free = t[:, None] * rate < room
        gain = (steepness * torch.where(free, t[:, None] * rate, room)).sum(1)
        gain_rate = (steepness * rate * free).sum(1)
        missing = (need - gain) / gain_rate.clamp_min(TINY)
        if not bool(((missing > 1e-6 * t) & (gain_rate > 0)).any()):
            break
        t = t + torch.where(gain_rate > 0, missing, 0.0).clamp_min(0)
    return (step.sign() * torch.minimum(t[:, None] * rate, room)).view_as(z)


def _boundary(
    scores: Logits, z: Images, y: Labels, target: Labels, only_target: bool
) -> tuple[PerExample, Images]:
    """The target's score less its rival's, and its gradient with respect to the inputs alone."""
    rival = y
    if only_target:
        rival = scores.detach().scatter(1, target[:, None], -torch.inf).argmax(1)
    with torch.enable_grad():
        gap = scores.gather(1, target[:, None]) - scores.gather(1, rival[:, None])
        (slope,) = torch.autograd.grad(gap.sum(), z)
    return gap.detach().squeeze(1), slope


def _step(z: Images, x: Images, gap: PerExample, slope: Images, kind: Norm) -> Images:
    """From ``z`` past the plane, biased towards the point of the plane nearest to ``x`` (eq. 9)."""
    gap_at_x = gap + ((x - z) * slope).flatten(1).sum(1)
    from_z, from_x = onto_plane(z, gap, slope, kind), onto_plane(x, gap_at_x, slope, kind)
    norm_z, norm_x = lp_norm(from_z, kind), lp_norm(from_x, kind)
    alpha = broadcast((norm_z / (norm_z + norm_x).clamp_min(TINY)).clamp_max(ALPHA_MAX), z)
    return ((1 - alpha) * (z + ETA * from_z) + alpha * (x + ETA * from_x)).clamp(0, 1)
