"""Small images in the box, and points that leave it."""

from __future__ import annotations

import torch
from torch import Tensor

from robustbench_kd.core.seed import Seed


def images(number: int, count: int = 3) -> Tensor:
    """Images of 1x4x4 in the box, some of their pixels on its walls."""
    noise = Seed(number).generator()
    return (torch.rand(count, 1, 4, 4, generator=noise) * 1.4 - 0.2).clamp(0, 1)


def moved(x: Tensor, number: int, scale: float = 1.0) -> Tensor:
    """The images moved by Gaussian noise, in the box or not."""
    noise = (Seed(number) / "push").generator()
    return x + scale * torch.randn(x.shape, generator=noise)
