"""Projected gradient ascent: the plain loop that trains, and the hunting loop that judges."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from robustbench_kd.core.config import Budget
from robustbench_kd.core.tensor_types import Images, Logits, Mask, PerExample
from robustbench_kd.ops.attacks.gradients import held_still, input_gradient
from robustbench_kd.ops.attacks.projections import project, steepest
from robustbench_kd.ops.attacks.targets import Goal

Ask = Callable[[Images], Logits]
Score = Callable[[Goal, Logits], PerExample]


def ascend(
    score: Callable[[Images], PerExample],
    x: Images,
    budget: Budget,
    *,
    steps: int,
    stride: float,
    start: Images,
) -> Images:
    """``steps`` steps of length ``stride * budget.amount`` up the score (Madry et al. 2018, eq. 3).

    Every row takes every step: in training, all rows feed the loss whether they are won or not.
    """
    z = start
    for _ in range(steps):
        direction = steepest(input_gradient(score, z), budget.kind)
        z = project(z + stride * budget.amount * direction, x, budget)
    return z.detach()


def hunt(
    logits: Ask,
    x: Images,
    goal: Goal,
    budget: Budget,
    *,
    steps: int,
    stride: float,
    start: Images,
    score: Score = Goal.cross_entropy,
) -> tuple[Images, Mask]:
    """The same ascent, but a row that is won leaves the batch at once.

    Returns the found inputs (rows that were never won: their last iterate) and which were won. A
    row that is won at a step costs a forward and a backward pass for it and each step before; one
    that is never won, one for each step, and a forward pass more at the end.
    """
    found, won = start.clone(), torch.zeros(len(x), dtype=torch.bool, device=x.device)
    alive = torch.arange(len(x), device=x.device)
    z = start
    for step in range(steps + 1):
        with torch.set_grad_enabled(step < steps):
            z = z.detach().requires_grad_(step < steps)
            scores = logits(z)
        hit = goal.won(scores.detach())
        found[alive] = z.detach()
        won[alive[hit]] = True
        if step == steps or bool(hit.all()):
            break
        with torch.enable_grad():
            (gradient,) = torch.autograd.grad(score(goal, scores)[~hit].sum(), z)
        alive, goal = alive[~hit], goal.take(~hit)
        z = z.detach()[~hit] + stride * budget.amount * steepest(gradient[~hit], budget.kind)
        z = project(z, x[alive], budget)
    return found, won


def restarted(
    once: Callable[[Tensor, int], tuple[Images, Mask]], x: Images, restarts: int
) -> tuple[Images, Mask]:
    """``restarts`` tries, each on the rows that are left; ``once`` takes their positions."""
    found, won = x.clone(), torch.zeros(len(x), dtype=torch.bool, device=x.device)
    for turn in range(restarts):
        left = (~won).nonzero().squeeze(1)
        if len(left) == 0:
            break
        z, hit = once(left, turn)
        found[left], won[left] = z, hit
    return found, won


def worst_case(
    net: nn.Module,
    x: Images,
    budget: Budget,
    score: Callable[[Logits, Images], PerExample],
    *,
    steps: int,
    stride: float,
    start: Images,
) -> Images:
    """The inner maximisation of training: ``score`` of the network's logits, and of the input.

    The network is in eval mode meanwhile, so that its running statistics are not fed by the
    attack's passes, and is handed back in the mode it came in.
    """
    with held_still(net):
        return ascend(
            lambda z: score(net(z), z), x, budget, steps=steps, stride=stride, start=start
        )
