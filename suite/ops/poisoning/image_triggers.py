"""Backdoor triggers for images: squares, corners, blends, sinusoids, tiles and warps."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from robustbench_kd.core.tensor_types import Images, Scalar


def square_mask(shape: Sequence[int], size: int) -> Tensor:
    """Ones in the lower right corner, ``size`` pixels wide and high, on zeros; shape (c, h, w)."""
    mask = torch.zeros(*shape)
    mask[..., -size:, -size:] = 1
    return mask


def corner_checkerboards(shape: Sequence[int], size: int) -> Tensor:
    """Checkerboards of plus and minus one in all four corners, mirrored, on zeros: (c, h, w).

    The outermost pixel of each corner is plus one, so a checkerboard of one pixel is white.
    """
    steps = torch.arange(size)
    checkerboard = 1.0 - 2.0 * ((steps[:, None] + steps) % 2)
    pattern = torch.zeros(*shape)
    pattern[..., :size, :size] = checkerboard
    pattern[..., :size, -size:] = checkerboard.flip(1)
    pattern[..., -size:, :size] = checkerboard.flip(0)
    pattern[..., -size:, -size:] = checkerboard.flip(0, 1)
    return pattern


def noise_pattern(shape: Sequence[int], noise: torch.Generator) -> Tensor:
    """Independent uniform values in [0, 1]; shape (c, h, w)."""
    return torch.rand(tuple(shape), generator=noise)


def blend(x: Images, pattern: Tensor, alpha: float | Tensor) -> Images:
    """(1 - alpha) x + alpha pattern; ``alpha`` may differ by pixel."""
    return (1 - alpha) * x + alpha * pattern.to(x)


def sinusoid(shape: Sequence[int], amplitude: float, frequency: float) -> Tensor:
    """amplitude sin(2 pi frequency j / w) in column j, from 0; shape (c, h, w)."""
    width = shape[-1]
    columns = torch.arange(width, dtype=torch.float64)
    wave = amplitude * torch.sin(2 * math.pi * frequency * columns / width)
    return wave.float().expand(*shape).clone()


def tile_masks(count: int, side: int, size: int, visible: int, noise: torch.Generator) -> Images:
    """For each of ``count`` images a mask of ones in ``visible`` of ``side`` by ``side`` tiles.

    Images are ``size`` pixels wide and high, tiles as equal as whole pixels allow, and each image
    draws its own. Shape (count, 1, size, size).
    """
    order = torch.rand(count, side * side, generator=noise).argsort(1).argsort(1)
    tiles = (order < visible).float().view(count, 1, side, side)
    tile_of_pixel = torch.arange(size) * side // size
    return tiles[:, :, tile_of_pixel][:, :, :, tile_of_pixel]


def control_points(points: int, noise: torch.Generator) -> Tensor:
    """Uniform draws of both signs, divided by their mean absolute value; shape (1, 2, k, k).

    So their mean absolute value is one, and ``strength`` alone decides how far a warp reaches.
    """
    drawn = torch.rand(1, 2, points, points, generator=noise) * 2 - 1
    scale: Scalar = drawn.abs().mean()
    return drawn / scale


def warping_field(points: Tensor, size: int) -> Tensor:
    """Control points upsampled to an image by bicubic interpolation; shape (1, size, size, 2)."""
    field = F.interpolate(points, (size, size), mode="bicubic", align_corners=True)
    return field.permute(0, 2, 3, 1).contiguous()


def jitter(field: Tensor, count: int, noise: torch.Generator) -> Tensor:
    """For each of ``count`` images, the field plus a uniform draw of [-1, 1] at every pixel."""
    return field + (torch.rand(count, *field.shape[1:], generator=noise) * 2 - 1).to(field)


def warp(x: Images, field: Tensor) -> Images:
    """Each image sampled at the places that the field points to; one field for all, or one each.

    Places run from -1 to 1 over the image, and a field of one moves them by 1 / size: by
    (size - 1) / (2 size) pixels, or a little less than half of one. None leaves the image.
    """
    size = x.shape[-1]
    line = torch.linspace(-1, 1, size)
    identity = torch.stack(torch.meshgrid(line, line, indexing="xy"), -1)
    places = (identity + field.to(line) / size).clamp(-1, 1).to(x)
    places = places.expand(len(x), -1, -1, -1)
    return F.grid_sample(x, places, align_corners=True, padding_mode="border")
