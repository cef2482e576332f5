"""Networks that an adversary trains for itself, on the data that it is about to poison."""

from __future__ import annotations

import torch
from torch import nn

from robustbench_kd.core.seed import Seed
from robustbench_kd.core.types import Examples
from robustbench_kd.models.factory import Shape, build


def infer_shape(train: Examples) -> Shape:
    """What a network for these images must be built for, read off the images and labels."""
    _, channels, size, _ = train.inputs.shape
    deviation, mean = torch.std_mean(train.inputs, dim=(0, 2, 3))
    return Shape(
        channels,
        size,
        int(train.targets.max()) + 1,
        tuple(mean.tolist()),
        tuple(deviation.clamp_min(1e-3).tolist()),
    )


def surrogate(architecture: str, train: Examples, seed: Seed) -> nn.Module:
    """A fresh network for these images.

    Raises:
        BadSetting: for an architecture that ``models.factory`` does not know.
    """
    return build(architecture, infer_shape(train), seed)


def random_subset(train: Examples, count: int, seed: Seed) -> Examples:
    """``count`` of the examples, drawn without replacement; all of them where there are fewer."""
    return train.take(torch.randperm(len(train), generator=seed.generator())[:count])
