"""Small networks that an adversary trains for itself, on the data that it is about to taint."""

from __future__ import annotations

import torch
from torch import nn

from robustbench_kd.errors import BadSetting
from robustbench_kd.nets.build import Shape, build
from robustbench_kd.ops.ascent import worst_case
from robustbench_kd.ops.ball import uniform_start
from robustbench_kd.ops.losses import cross_entropy, distillation
from robustbench_kd.seed import Seed
from robustbench_kd.shapes import Scalar
from robustbench_kd.train import Objective, Turn, remember
from robustbench_kd.types import Budget, Examples


def shape_of(train: Examples) -> Shape:
    """What a network for these images must be built for, read off the images themselves."""
    _, channels, size, _ = train.inputs.shape
    deviation, mean = torch.std_mean(train.inputs, dim=(0, 2, 3))
    return Shape(
        channels,
        size,
        int(train.targets.max()) + 1,
        tuple(mean.tolist()),
        tuple(deviation.clamp_min(1e-3).tolist()),
    )


def surrogate(name: str, train: Examples, seed: Seed) -> nn.Module:
    """A fresh network for these images.

    Raises:
        BadSetting: for a name that ``nets.build`` does not know.
    """
    return build(name, shape_of(train), seed)


def some(train: Examples, count: int, seed: Seed) -> Examples:
    """``count`` of the examples, drawn without replacement; all of them where there are fewer."""
    return train.take(torch.randperm(len(train), generator=seed.generator())[:count])


def at_least_one(**numbers: int) -> None:
    """Refuses a count below one.

    Raises:
        BadSetting: naming the first.
    """
    for name, number in numbers.items():
        if number < 1:
            raise BadSetting(f"{name} must be at least 1, not {number}")


def labels(net: nn.Module, batch: Examples, turn: Turn) -> Scalar:
    """Cross-entropy with the labels."""
    return cross_entropy(net(batch.inputs), batch.targets).mean()


def labels_under_attack(budget: Budget) -> Objective:
    """Cross-entropy on what two steps of ascent find: cheap adversarial training."""

    def loss(net: nn.Module, batch: Examples, turn: Turn) -> Scalar:
        x, y = batch.inputs, batch.targets
        start = uniform_start(x, budget, turn.noise)
        z = worst_case(
            net, x, budget, lambda s, _: cross_entropy(s, y), steps=2, stride=0.5, start=start
        )
        return cross_entropy(net(z), y).mean()

    return loss


def answers_of(teacher: nn.Module, data: Examples, temperature: float) -> Objective:
    """The distance to the teacher's softened answers, without any label."""
    says = remember(teacher, data)

    def loss(net: nn.Module, batch: Examples, turn: Turn) -> Scalar:
        return distillation(net(batch.inputs), says(batch.ids), temperature).mean()

    return loss
