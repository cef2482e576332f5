"""Our networks by name: ``resnet-12-24-48``, ``resnet-16-32x2``, ``elastic-24-48-96``.

Those of timm are in ``integrations.timm``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from robustbench_kd.core.errors import BadSetting
from robustbench_kd.core.seed import Seed
from robustbench_kd.models.elastic_resnet import ElasticResNet
from robustbench_kd.models.resnet import SmallResNet
from robustbench_kd.models.subnet_space import SubnetSpace


@dataclass(frozen=True)
class Shape:
    """What a network is built for: images, classes, and the statistics it normalises with."""

    channels: int
    size: int
    classes: int
    mean: tuple[float, ...]
    deviation: tuple[float, ...]

    def blank(self, count: int = 1) -> torch.Tensor:
        """Black images of this shape."""
        return torch.zeros(count, self.channels, self.size, self.size)


def build(name: str, shape: Shape, seed: Seed) -> nn.Module:
    """A fresh network; its initial weights depend on the seed alone.

    Raises:
        BadSetting: for a name that no family has.
    """
    elastic = re.fullmatch(r"elastic((?:-\d+)+)", name)
    resnet = re.fullmatch(r"resnet((?:-\d+(?::\d+(?:,\d+)*)?)+)(?:x(\d+))?", name)
    with torch.random.fork_rng(devices=[]):
        # Layers draw their initial weights from the global generator; the fork confines it.
        torch.default_generator.manual_seed(seed.number())
        if elastic:
            return elastic_resnet([int(w) for w in elastic[1].strip("-").split("-")], shape)
        if resnet:
            stages = [stage.partition(":") for stage in resnet[1].strip("-").split("-")]
            widths = [int(width) for width, _, _ in stages]
            inner = [
                [int(n) for n in inner.split(",")] if inner else [int(width)] * int(resnet[2] or 1)
                for width, _, inner in stages
            ]
            return small_resnet(widths, inner, shape)
    raise BadSetting(
        f"no network named {name!r}; write resnet-12-24-48 (widths of the stages), "
        "resnet-12-24-48x2 (two blocks each), resnet-12:6-24:12,24-48:48 (inner widths of each "
        "block), elastic-24-48-96, or timm:NAME for any model of timm"
    )


def elastic_resnet(widths: Sequence[int], shape: Shape) -> ElasticResNet:
    """The supernet of small residual networks up to these widths and two blocks a stage."""
    space = SubnetSpace(
        tuple(widths),
        channels=shape.channels,
        size=shape.size,
        classes=shape.classes,
        stem=2 if shape.size > 16 else 1,
    )
    supernet = ElasticResNet(space, shape.mean, shape.deviation)
    return supernet.to(memory_format=torch.channels_last)


def small_resnet(
    widths: Sequence[int], inner: Sequence[Sequence[int]], shape: Shape
) -> SmallResNet:
    """The small residual network of these widths, channels last, which is faster on the CPU."""
    net = SmallResNet(
        widths,
        inner=inner,
        channels=shape.channels,
        classes=shape.classes,
        mean=shape.mean,
        deviation=shape.deviation,
        stem=2 if shape.size > 16 else 1,
    )
    return net.to(memory_format=torch.channels_last)
