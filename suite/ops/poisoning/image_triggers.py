"""What backdoors do to images: squares, corners, blends, sinusoids, tiles and warps."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from robustbench_kd.core.tensor_types import Images, Scalar


def square(shape: Sequence[int], size: int) -> Tensor:
    """Ones in the lower right corner, ``size`` pixels wide and high, on zeros; shape (c, h, w)."""
    mask = torch.zeros(*shape)
    mask[..., -size:, -size:] = 1
    return mask


def corners(shape: Sequence[int], size: int) -> Tensor:
    """Chequers of plus and minus one in all four corners, mirrored, on zeros; shape (c, h, w).

    The outermost pixel of each corner is plus one, so a chequer of one pixel is white.
    """
    steps = torch.arange(size)
    chequer = 1.0 - 2.0 * ((steps[:, None] + steps) % 2)
    pattern = torch.zeros(*shape)
    pattern[..., :size, :size] = chequer
    pattern[..., :size, -size:] = chequer.flip(1)
    pattern[..., -size:, :size] = chequer.flip(0)
    pattern[..., -size:, -size:] = chequer.flip(0, 1)
    return pattern


def noise_pattern(shape: Sequence[int], noise: torch.Generator) -> Tensor:
    """Every value uniform in [0, 1] by itself; shape (c, h, w)."""
    return torch.rand(tuple(shape), generator=noise)


def blended(x: Images, pattern: Tensor, alpha: float | Tensor) -> Images:
    """(1 - alpha) x + alpha pattern; ``alpha`` may differ by pixel."""
    return (1 - alpha) * x + alpha * pattern.to(x)


def sinusoid(shape: Sequence[int], amplitude: float, frequency: float) -> Tensor:
    """amplitude sin(2 pi frequency j / w) in column j, from 0; shape (c, h, w)."""
    wide = shape[-1]
    columns = torch.arange(wide, dtype=torch.float64)
    wave = amplitude * torch.sin(2 * math.pi * frequency * columns / wide)
    return wave.float().expand(*shape).clone()


def kept_tiles(count: int, side: int, size: int, kept: int, noise: torch.Generator) -> Images:
    """For each of ``count`` images a mask of ones in ``kept`` of ``side`` by ``side`` tiles.

    Images are ``size`` pixels wide and high, tiles as equal as whole pixels allow, and each image
    draws its own. Shape (count, 1, size, size).
    """
    order = torch.rand(count, side * side, generator=noise).argsort(1).argsort(1)
    tiles = (order < kept).float().view(count, 1, side, side)
    place = torch.arange(size) * side // size
    return tiles[:, :, place][:, :, :, place]


def control_points(points: int, noise: torch.Generator) -> Tensor:
    """Uniform draws of both signs, divided by their mean absolute value; shape (1, 2, k, k).

    So their mean absolute value is one, and ``strength`` alone says how far a warp reaches.
    """
    drawn = torch.rand(1, 2, points, points, generator=noise) * 2 - 1
    scale: Scalar = drawn.abs().mean()
    return drawn / scale


def flow_of(points: Tensor, size: int) -> Tensor:
    """Control points spread over an image by bicubic interpolation; shape (1, size, size, 2)."""
    spread = F.interpolate(points, (size, size), mode="bicubic", align_corners=True)
    return spread.permute(0, 2, 3, 1).contiguous()


def jitter(flow: Tensor, count: int, noise: torch.Generator) -> Tensor:
    """For each of ``count`` images, the flow and a uniform draw of [-1, 1] at every pixel."""
    return flow + (torch.rand(count, *flow.shape[1:], generator=noise) * 2 - 1).to(flow)


def warp(x: Images, flow: Tensor) -> Images:
    """Each image read at the places that the flow points to; one flow for all, or one each.

    Places run from -1 to 1 over the image, and a flow of one moves them by 1 / size: by
    (size - 1) / (2 size) pixels, or a little less than half of one. None leaves the image.
    """
    size = x.shape[-1]
    line = torch.linspace(-1, 1, size)
    identity = torch.stack(torch.meshgrid(line, line, indexing="xy"), -1)
    places = (identity + flow.to(line) / size).clamp(-1, 1).to(x)
    places = places.expand(len(x), -1, -1, -1)
    return F.grid_sample(x, places, align_corners=True, padding_mode="border")
