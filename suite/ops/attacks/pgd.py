"""Projected gradient ascent: with all rows for training, and with early stopping for evaluation."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from robustbench_kd.core.config import Budget
from robustbench_kd.core.tensor_types import Images, Logits, Mask, PerExample
from robustbench_kd.ops.attacks.gradients import frozen_eval_mode, input_gradient
from robustbench_kd.ops.attacks.projections import project, steepest_direction
from robustbench_kd.ops.attacks.targets import Goal

LogitFunction = Callable[[Images], Logits]
ScoreFunction = Callable[[Goal, Logits], PerExample]


def projected_gradient_ascent(
    score: Callable[[Images], PerExample],
    x: Images,
    budget: Budget,
    *,
    steps: int,
    stride: float,
    start: Images,
) -> Images:
    """``steps`` steps of length ``stride * budget.amount`` up the score (Madry et al. 2018, eq. 3).

    Every row takes every step: in training, all rows contribute to the loss, misclassified or not.
    """
    z = start
    for _ in range(steps):
        direction = steepest_direction(input_gradient(score, z), budget.kind)
        z = project(z + stride * budget.amount * direction, x, budget)
    return z.detach()


def pgd(
    logits: LogitFunction,
    x: Images,
    goal: Goal,
    budget: Budget,
    *,
    steps: int,
    stride: float,
    start: Images,
    score: ScoreFunction = Goal.cross_entropy,
) -> tuple[Images, Mask]:
    """The same ascent, but a row leaves the batch as soon as it reaches the goal.

    A row that reaches it after n steps costs n + 1 forward and as many backward passes; one that
    never does, ``steps + 1`` forward and ``steps`` backward.

    Returns:
        The adversarial inputs (for rows that never reach the goal: their last iterate), and which
        rows reached it.
    """
    adversarial, success = start.clone(), torch.zeros(len(x), dtype=torch.bool, device=x.device)
    active = torch.arange(len(x), device=x.device)
    z = start
    for step in range(steps + 1):
        with torch.set_grad_enabled(step < steps):
            z = z.detach().requires_grad_(step < steps)
            scores = logits(z)
        reached = goal.is_reached(scores.detach())
        adversarial[active] = z.detach()
        success[active[reached]] = True
        if step == steps or bool(reached.all()):
            break
        with torch.enable_grad():
            (gradient,) = torch.autograd.grad(score(goal, scores)[~reached].sum(), z)
        active, goal = active[~reached], goal.take(~reached)
        direction = steepest_direction(gradient[~reached], budget.kind)
        z = z.detach()[~reached] + stride * budget.amount * direction
        z = project(z, x[active], budget)
    return adversarial, success


def with_restarts(
    attack: Callable[[Tensor, int], tuple[Images, Mask]], x: Images, restarts: int
) -> tuple[Images, Mask]:
    """Runs an attack up to ``restarts`` times, each time on the rows that are not broken yet.

    Args:
        attack: (positions of rows, number of the restart) -> adversarial inputs, success.
    """
    adversarial, success = x.clone(), torch.zeros(len(x), dtype=torch.bool, device=x.device)
    for restart in range(restarts):
        rows = (~success).nonzero().squeeze(1)
        if len(rows) == 0:
            break
        adversarial[rows], success[rows] = attack(rows, restart)
    return adversarial, success


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
    """The inner maximisation of adversarial training.

    The network is in eval mode meanwhile, so that the attack's passes do not enter its running
    statistics, and is returned in the mode it came in.

    Args:
        score: of the network's logits and its input.
    """
    with frozen_eval_mode(net):
        return projected_gradient_ascent(
            lambda z: score(net(z), z), x, budget, steps=steps, stride=stride, start=start
        )
