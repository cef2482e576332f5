"""The threat set of an attack: norms, projections, random starts and steepest directions."""

from __future__ import annotations

import torch
from torch import Tensor

from robustbench_kd.core.config import Budget, Norm
from robustbench_kd.core.tensor_types import Images, PerExample

TINY = 1e-12  # keeps a division by a norm finite


def broadcast(values: PerExample, like: Images) -> Tensor:
    """One number an example, in a shape that multiplies images: (b,) -> (b, 1, 1, 1)."""
    return values.view(-1, *([1] * (like.dim() - 1)))


def lp_norm(delta: Images, kind: Norm) -> PerExample:
    """The norm of each example's perturbation, in pixel units."""
    flat = delta.flatten(1)
    return flat.abs().amax(1) if kind == "linf" else flat.norm(dim=1)


def distance(z: Images, x: Images, kind: Norm) -> PerExample:
    """How far each example was moved, in pixel units."""
    return lp_norm(z - x, kind)


def project(z: Images, x: Images, budget: Budget) -> Images:
    """The projection on the ball around ``x``, clipped to the box [0, 1].

    For L2 the clip follows the projection on the ball: it only ever brings a point nearer to ``x``,
    which lies in the box, so the result is in both sets.
    """
    if budget.kind == "linf":
        return torch.minimum(torch.maximum(z, x - budget.amount), x + budget.amount).clamp(0, 1)
    delta = z - x
    shrink = (budget.amount / lp_norm(delta, "l2").clamp_min(TINY)).clamp_max(1)
    return (x + delta * broadcast(shrink, x)).clamp(0, 1)


def steepest_direction(gradient: Images, kind: Norm) -> Images:
    """The direction of norm one in which the score rises fastest."""
    if kind == "linf":
        return gradient.sign()
    return gradient / broadcast(lp_norm(gradient, "l2").clamp_min(TINY), gradient)


def uniform_start(x: Images, budget: Budget, generator: torch.Generator) -> Images:
    """A random point of the ball and the box.

    Uniform for Linf; for L2, direction and radius are uniform. A point uniform in an L2 ball of
    many dimensions lies all but on its sphere, far along a random direction; attacks that start
    there are weaker than those that start anywhere along the radius.
    """
    if budget.kind == "linf":
        u = torch.rand(x.shape, generator=generator).to(x) * 2 - 1
        return project(x + budget.amount * u, x, budget)
    direction = steepest_direction(torch.randn(x.shape, generator=generator).to(x), "l2")
    radius = torch.rand(len(x), generator=generator).to(x)
    return project(x + budget.amount * direction * broadcast(radius, x), x, budget)


def gaussian_start(x: Images, generator: torch.Generator) -> Images:
    """``x`` plus Gaussian noise of scale 0.001: the start of TRADES and the methods based on it."""
    return (x + 0.001 * torch.randn(x.shape, generator=generator).to(x)).clamp(0, 1)
