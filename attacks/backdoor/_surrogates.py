"""What the backdoors teach the networks that an adversary trains for itself."""

from __future__ import annotations

import torch
from torch import nn

from robustbench_kd.errors import BadSetting
from robustbench_kd.ops.losses import distillation
from robustbench_kd.seed import Seed
from robustbench_kd.shapes import Scalar
from robustbench_kd.train import Objective, Turn, remember
from robustbench_kd.types import Examples


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


def answers_of(teacher: nn.Module, data: Examples, temperature: float) -> Objective:
    """The distance to the teacher's softened answers, without any label."""
    says = remember(teacher, data)

    def loss(net: nn.Module, batch: Examples, turn: Turn) -> Scalar:
        return distillation(net(batch.inputs), says(batch.ids), temperature).mean()

    return loss
