"""Reference formulas of training losses, in double precision and without any of our parts."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustbench_kd.core.config import Budget, Schedule
from robustbench_kd.core.protocols import TrainingContext
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.types import Examples
from robustbench_kd.models.statistics import weights_digest
from robustbench_kd.scenarios.digits import Digits
from robustbench_kd.training.trainer import TrainStep

EPS = 0.1


def network(name: str) -> nn.Module:
    """A tiny network in double precision, with large logits and statistics of its own."""
    net = Digits().student("resnet-4-8", Seed() / name).double()
    noise = (Seed() / name / "statistics").generator()
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean = torch.rand(layer.num_features, generator=noise).double() / 4
            layer.running_var = torch.rand(layer.num_features, generator=noise).double() + 0.5
        if isinstance(layer, nn.Linear):
            layer.weight.data.mul_(4)
    return net


def toy(epochs: int = 1, eps: float = EPS) -> TrainingContext:
    """Eight digits, a student in training mode, and a frozen teacher for each role."""
    data = Digits().splits(Seed(), whole=True).train.take(torch.arange(8))
    roles = ("clean", "robust")
    return TrainingContext(
        data=Examples(data.ids, data.inputs.double(), data.targets),
        teachers={role: network(role).eval().requires_grad_(False) for role in roles},
        student=network("student").train(),
        budget=Budget("linf", eps),
        schedule=Schedule(epochs=epochs, batch=4),
        seed=Seed(7),
    )


def noise() -> torch.Generator:
    return Seed(3).generator()


def evaluated(net: nn.Module) -> nn.Module:
    return copy.deepcopy(net).eval()


def kl(target: Tensor, predicted: Tensor, t: float = 1.0) -> Tensor:
    """KL(target || predicted) by torch's own, one number an example."""
    p, q = (target / t).softmax(1), (predicted / t).log_softmax(1)
    return F.kl_div(q, p, reduction="none").sum(1)


def ce(logits: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(logits, y, reduction="none")


def moved(x: Tensor, start: Tensor, score: Callable[[Tensor], Tensor]) -> Tensor:
    """Five steps of a quarter of the radius, in a straight line of code."""
    z = start
    for _ in range(5):
        z = z.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(score(z).sum(), z)
        z = (z + 0.25 * EPS * gradient.sign()).detach()
        z = (x + (z - x).clamp(-EPS, EPS)).clamp(0, 1)
    return z


def uniform(x: Tensor) -> Tensor:
    u = torch.rand(x.shape, generator=noise()) * 2 - 1
    return (x + EPS * u.double()).clamp(0, 1)


def near(x: Tensor) -> Tensor:
    return (x + 0.001 * torch.randn(x.shape, generator=noise()).double()).clamp(0, 1)


def slope(loss: Tensor, net: nn.Module) -> Tensor:
    """The gradient at all of the network's weights, in one row."""
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(net.parameters()))])


def loss_and_slope(
    defense: Any, context: TrainingContext, done: float = 0.5
) -> tuple[Tensor, Tensor]:
    loss = defense.loss(context)(context.student, context.data, TrainStep(noise(), done))
    return loss.detach(), slope(loss, context.student)


def trained_digest(defense: Any) -> str:
    return weights_digest(defense.train(toy(epochs=2)).state_dict())
