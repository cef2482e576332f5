"""Losses of clean-label poisoning: matching a target's features or its training gradient."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from robustbench_kd.core.config import Budget
from robustbench_kd.core.tensor_types import Images, Labels, PerExample, Scalar
from robustbench_kd.ops.attacks.projections import project
from robustbench_kd.ops.augmentation import random_shift
from robustbench_kd.ops.losses import cross_entropy

TINY = 1e-12
MILESTONES = (3 / 8, 5 / 8, 7 / 8)  # shares of all steps after each of which the rate is divided


def feature_distance(features: Tensor, target: Tensor) -> PerExample:
    """The squared distance of each row of features to the target's one row."""
    return (features - target).square().sum(1)


def centroid_distance(features: Tensor, target: Tensor) -> Scalar:
    """The distance of the mean row to the target's one row, relative to the norm of that row."""
    relative: Scalar = (features.mean(0) - target[0]).norm() / target.norm().clamp_min(TINY)
    return relative


def weight_gradient(
    net: nn.Module, x: Images, y: Labels, *, differentiable: bool = False
) -> tuple[Tensor, ...]:
    """The gradient of the mean cross-entropy at the network's weights, one tensor a parameter.

    With ``differentiable`` the gradient can itself be differentiated in ``x``. The weights' own
    ``grad`` is left as it is.
    """
    with torch.enable_grad():
        loss = cross_entropy(net(x), y).mean()
        return torch.autograd.grad(loss, list(net.parameters()), create_graph=differentiable)


def gradient_mismatch(a: Sequence[Tensor], b: Sequence[Tensor]) -> Scalar:
    """1 - cosine of two gradients: 0 for the same direction, 2 for the opposite one.

    All layers count as one vector, so there is one norm and no layer has a weight of its own.
    """
    dot = torch.stack([(p * q).sum() for p, q in zip(a, b, strict=True)]).sum()
    return 1 - dot / (_norm(a) * _norm(b)).clamp_min(TINY)


def random_shift_and_flip(x: Images, reach: int, flip: bool, generator: torch.Generator) -> Images:
    """Each image shifted by up to ``reach`` pixels along both axes, and mirrored with chance 1/2.

    Padded with black. Pixels are only selected, so gradients pass unchanged.
    """
    x = random_shift(x, reach, generator)
    if flip:
        mirrored = torch.rand(len(x), generator=generator).to(x.device) < 0.5
        x = torch.where(mirrored[:, None, None, None], x.flip(3), x)
    return x


def signed_adam(
    loss: Callable[[Images], Scalar],
    x: Images,
    budget: Budget,
    *,
    steps: int,
    stride: float,
    start: Images,
) -> Images:
    """Minimises the loss of a whole batch in the ball, by Adam on the signs of its gradient.

    Steps begin at ``stride`` times the radius and are divided by ten at three milestones (the
    settings of Geiping et al. 2021's released code). As the loss couples the images, none leaves
    early.
    """
    z = start.detach().clone().requires_grad_(True)
    optimiser = torch.optim.Adam([z], lr=stride * budget.amount)
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = (
            stride * budget.amount * 0.1 ** sum(step >= share * steps for share in MILESTONES)
        )
        with torch.enable_grad():
            (gradient,) = torch.autograd.grad(loss(z), z)
        z.grad = gradient.sign()
        optimiser.step()
        with torch.no_grad():
            z.copy_(project(z, x, budget))
    return z.detach()


def _norm(gradient: Sequence[Tensor]) -> Tensor:
    return torch.stack([part.square().sum() for part in gradient]).sum().sqrt()
