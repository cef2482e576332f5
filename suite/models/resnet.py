"""Small residual networks for small images (He et al. 2016, basic blocks)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from robustbench_kd.core.tensor_types import Images, Logits


class Normalise(nn.Module):
    """Subtracts the mean and divides by the deviation, so that the network takes [0, 1] images."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, mean: Sequence[float], deviation: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("deviation", torch.tensor(deviation).view(1, -1, 1, 1))

    def forward(self, x: Images) -> Images:
        return (x - self.mean) / self.deviation


class Block(nn.Module):
    """Two 3x3 convolutions beside a shortcut, which is 1x1 only where the shape changes.

    ``inner`` is the number of channels between the two.
    """

    def __init__(self, width: int, out: int, stride: int, inner: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, inner, 3, stride, 1, bias=False)
        self.first_norm = nn.BatchNorm2d(inner)
        self.second = nn.Conv2d(inner, out, 3, 1, 1, bias=False)
        self.second_norm = nn.BatchNorm2d(out)
        self.shortcut: nn.Module = nn.Identity()
        if width != out or stride != 1:
            self.shortcut = nn.Sequential(
                nn.Conv2d(width, out, 1, stride, bias=False), nn.BatchNorm2d(out)
            )

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.relu(self.first_norm(self.first(x)))
        return torch.relu(self.second_norm(self.second(hidden)) + self.shortcut(x))


class SmallResNet(nn.Module):
    """A stem, one stage a width (each after the first halves the image), mean pooling, a linear.

    Args:
        widths: channels of each stage.
        inner: by stage, the inner channels of each of its blocks; one block as wide as its stage
            unless given.
        stem: stride of the first convolution; 2 quarters the cost of everything after it.
    """

    def __init__(
        self,
        widths: Sequence[int],
        *,
        channels: int,
        classes: int,
        mean: Sequence[float],
        deviation: Sequence[float],
        inner: Sequence[Sequence[int]] | None = None,
        stem: int = 2,
    ) -> None:
        super().__init__()
        self.normalise = Normalise(mean, deviation)
        self.stem = nn.Conv2d(channels, widths[0], 3, stem, 1, bias=False)
        self.stem_norm = nn.BatchNorm2d(widths[0])
        blocks: list[nn.Module] = []
        width = widths[0]
        inner = inner if inner is not None else [[width] for width in widths]
        for stage, (out, inner_widths) in enumerate(zip(widths, inner, strict=True)):
            for n, inner_width in enumerate(inner_widths):
                blocks.append(Block(width, out, 2 if stage > 0 and n == 0 else 1, inner_width))
                width = out
        self.stages = nn.Sequential(*blocks)
        self.head = nn.Linear(width, classes)

    def forward(self, x: Images) -> Logits:
        x = x.contiguous(memory_format=torch.channels_last)
        activations = self.stages(torch.relu(self.stem_norm(self.stem(self.normalise(x)))))
        logits: Logits = self.head(activations.mean((2, 3)))
        return logits
