"""What poisons are made to match: another image's features, or the gradient that it would pull."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from robustbench_kd.core.config import Budget
from robustbench_kd.core.tensor_types import Images, Labels, PerExample, Scalar
from robustbench_kd.ops.attacks.projections import project
from robustbench_kd.ops.augmentation import shifted
from robustbench_kd.ops.losses import cross_entropy

TINY = 1e-12
FALLS = (3 / 8, 5 / 8, 7 / 8)  # shares of the way after each of which steps are a tenth as long


def collision(found: Tensor, aim: Tensor) -> PerExample:
    """The squared distance of each row of features to the one row aimed at."""
    return (found - aim).square().sum(1)


def off_centre(found: Tensor, aim: Tensor) -> Scalar:
    """How far the mean of the rows lies from the one row aimed at, in lengths of that row."""
    away: Scalar = (found.mean(0) - aim[0]).norm() / aim.norm().clamp_min(TINY)
    return away


def weight_gradient(
    net: nn.Module, x: Images, y: Labels, *, differentiable: bool = False
) -> tuple[Tensor, ...]:
    """The gradient of the mean cross-entropy at the network's weights, layer by layer.

    With ``differentiable`` the gradient can itself be differentiated in ``x``. Nothing is left in
    the weights' own ``grad``.
    """
    with torch.enable_grad():
        loss = cross_entropy(net(x), y).mean()
        return torch.autograd.grad(loss, list(net.parameters()), create_graph=differentiable)


def mismatch(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> Scalar:
    """1 - cosine of two gradients: 0 for the same direction, 2 for the opposite one.

    All layers count as one vector, so there is one norm and no layer is given weight of its own.
    """
    dot = torch.stack([(a * b).sum() for a, b in zip(ours, theirs, strict=True)]).sum()
    return 1 - dot / (_length(ours) * _length(theirs)).clamp_min(TINY)


def moved(x: Images, reach: int, flip: bool, generator: torch.Generator) -> Images:
    """Each image shifted by up to ``reach`` pixels both ways, and mirrored half of the time.

    What moves in is black. Pixels are only picked, so gradients pass unchanged.
    """
    x = shifted(x, reach, generator)
    if flip:
        turned = torch.rand(len(x), generator=generator).to(x.device) < 0.5
        x = torch.where(turned[:, None, None, None], x.flip(3), x)
    return x


def signed_descent(
    loss: Callable[[Images], Scalar],
    x: Images,
    budget: Budget,
    *,
    steps: int,
    stride: float,
    start: Images,
) -> Images:
    """The loss of a whole batch brought down by Adam on the signs of its gradient, in the ball.

    Steps begin at ``stride`` times the radius and shrink to a tenth at three places (the settings
    of Geiping et al. 2021's released code). As the loss couples the images, none leaves early.
    """
    z = start.detach().clone().requires_grad_(True)
    optimiser = torch.optim.Adam([z], lr=stride * budget.amount)
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = (
            stride * budget.amount * 0.1 ** sum(step >= fall * steps for fall in FALLS)
        )
        with torch.enable_grad():
            (gradient,) = torch.autograd.grad(loss(z), z)
        z.grad = gradient.sign()
        optimiser.step()
        with torch.no_grad():
            z.copy_(project(z, x, budget))
    return z.detach()


def _length(gradient: Sequence[Tensor]) -> Tensor:
    return torch.stack([part.square().sum() for part in gradient]).sum().sqrt()
