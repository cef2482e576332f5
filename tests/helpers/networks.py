"""Networks that tests attack: a robust one, and linear ones, whose weakest point is known."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor, nn

from robustbench_kd.core.config import Budget, Schedule
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.types import Examples
from robustbench_kd.models.classifier import Classifier
from robustbench_kd.scenarios.digits import Digits
from robustbench_kd.training.objectives import adversarial_loss
from robustbench_kd.training.trainer import fit


@cache
def robust_digits() -> nn.Module:
    """A small network, adversarially trained on the digits for seconds: clean accuracy 98 %."""
    scenario = Digits()
    return fit(
        scenario.student("resnet-8-16", Seed()),
        scenario.splits(Seed(), whole=True).train,
        adversarial_loss(Budget("linf", 0.1), steps=2),
        Schedule(epochs=12, batch=64),
        Seed(),
    )


def robust_model(count: int) -> tuple[Classifier, Examples]:
    """The robust digits network with its pass counter at zero, and test images."""
    scenario = Digits()
    test = scenario.splits(Seed(), whole=False).test
    return scenario.target_model(robust_digits()), test.take(torch.arange(count))


def linear(classes: int, shape: tuple[int, int, int], seed: int = 0) -> Callable[[Tensor], Tensor]:
    """Logits that are linear in the image, with weights drawn from the seed."""
    size = shape[0] * shape[1] * shape[2]
    w = torch.randn(size, classes, generator=(Seed(seed) / "linear").generator()) / size**0.5
    return lambda z: (z.flatten(1) - 0.5) @ w


class NoGradient(torch.autograd.Function):
    """The identity; computing its gradient fails."""

    @staticmethod
    def forward(ctx: object, z: Tensor) -> Tensor:
        return z.clone()

    @staticmethod
    def backward(ctx: object, *gradients: Tensor) -> Tensor:
        raise AssertionError("a black-box attack computed a gradient")
