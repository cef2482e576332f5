"""Tiny networks, digits, and training contexts of repairs that hold little else."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor, nn

from robustbench_kd.core.config import Budget, Schedule
from robustbench_kd.core.protocols import TrainingContext
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.types import Examples
from robustbench_kd.models.feature_extraction import stages
from robustbench_kd.models.resnet import Block, SmallResNet
from robustbench_kd.scenarios._image_classification import no_examples
from robustbench_kd.scenarios.digits import Digits
from robustbench_kd.training.objectives import label_loss
from robustbench_kd.training.trainer import TrainStep, fit


def images(first: int = 0, count: int = 64) -> Examples:
    """Training digits."""
    return Digits().splits(Seed(), whole=True).train.take(torch.arange(first, first + count))


def network(name: str = "resnet-4-8") -> SmallResNet:
    """A fresh network, whose weights depend on its name."""
    net = Digits().student(name, Seed() / name)
    assert isinstance(net, SmallResNet)
    return net


def trained(net: nn.Module) -> SmallResNet:
    """The network after a few seconds on 640 digits."""
    net = fit(net, images(0, 640), label_loss, Schedule(epochs=6, batch=32), Seed())
    assert isinstance(net, SmallResNet)
    return net


def with_dormant_channel(channel: int) -> SmallResNet:
    """A trained network with one channel of its last stage inactive on all digits."""
    net = trained(network())
    last = stages(net)[-1][-1]
    assert isinstance(last, Block)
    with torch.no_grad():
        last.second_norm.bias[channel] = -1000
    return net


def repair_context(given: nn.Module, **changes: Any) -> TrainingContext:
    """A network to repair and 64 trusted digits; nothing else in it may matter."""
    context = TrainingContext(
        data=no_examples(images()),
        teachers={"given": given.eval().requires_grad_(False)},
        student=nn.Identity(),
        budget=Budget("linf", 0.1),
        schedule=Schedule(epochs=1),
        seed=Seed() / "repair",
        trusted=images(),
    )
    return dataclasses.replace(context, **changes)


def first_step() -> TrainStep:
    """The first step of a training."""
    return TrainStep(Seed().generator(), 0.0)


def gradient(loss: Tensor, net: nn.Module) -> Tensor:
    """The gradient at all weights that the loss depends on, in one row."""
    parts = torch.autograd.grad(loss, list(net.parameters()), allow_unused=True)
    return torch.cat([part.flatten() for part in parts if part is not None])
