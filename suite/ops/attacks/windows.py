"""What Square Attack draws: windows, their sizes and places, stripes, tiles, and the L2 bump.

Every row draws its own window, so that a batch of rows explores as many places.
"""

from __future__ import annotations

import torch
from torch import Tensor

from robustbench_kd.core.tensor_types import Images
from robustbench_kd.ops.attacks.projections import TINY

# The share of pixels in a window is halved after so many queries, as the authors' code has it.
HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)


def share(query: int, first: float) -> float:
    """The share of pixels that a window covers at this query; it starts at ``first``."""
    return float(first / 2 ** sum(query > turn for turn in HALVINGS))


def signs(*shape: int, noise: torch.Generator) -> Tensor:
    """Minus one or one, in this shape."""
    return torch.randint(0, 2, shape, generator=noise) * 2.0 - 1


def window(like: Images, size: int, noise: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """A square of ``size`` pixels at a random place of each image.

    Returns which pixels lie in it, shape (b, 1, h, w), and each pixel row's and column's offset
    from its first, shapes (b, h) and (b, w).
    """
    down, across = (
        (torch.arange(span) - torch.randint(0, span - size + 1, (len(like), 1), generator=noise))
        for span in like.shape[2:]
    )
    rows, columns = ((offset >= 0) & (offset < size) for offset in (down, across))
    inside = (rows[:, None, :, None] & columns[:, None, None, :]).to(like.device)
    return inside, down.to(like.device), across.to(like.device)


def stripes(like: Images, noise: torch.Generator) -> Images:
    """Vertical stripes one pixel wide, each minus one or one in each channel."""
    rows, channels, _, wide = like.shape
    return signs(rows, channels, 1, wide, noise=noise).to(like).expand_as(like)


def tiles(like: Images, noise: torch.Generator) -> Images:
    """Bumps of a fifth of the image side by side, each of its own sign in each channel."""
    rows, channels, high, wide = like.shape
    size = max(min(high, wide) // 5, 1)
    down, across = (torch.arange(n) - n % size // 2 for n in (high, wide))
    sign = signs(rows, channels, high // size + 2, wide // size + 2, noise=noise)
    grid = sign[:, :, down // size][:, :, :, across // size]
    pattern = bump(size)[down % size][:, across % size]
    whole = [(n >= 0) & (n < span // size * size) for n, span in ((down, high), (across, wide))]
    return (grid * pattern * (whole[0][:, None] & whole[1])).to(like)


def bumps(size: int, down: Tensor, across: Tensor, like: Images, noise: torch.Generator) -> Images:
    """A bump of random sign and orientation at the windows with these offsets."""
    both = torch.stack([bump(size), bump(size).T]).to(like)
    turn = torch.randint(0, 2, (len(like), 1, 1), generator=noise).to(like.device)
    sign = signs(*like.shape[:2], 1, 1, noise=noise).to(like)
    down, across = (offset.clamp(0, size - 1) for offset in (down, across))
    return both[turn, down[:, :, None], across[:, None, :]][:, None] * sign


def bump(size: int) -> Tensor:
    """Two opposite heaps side by side, of norm one; shape (size, size).

    At Chebyshev distance d from its centre, a heap is as high as the sum of 1 / (k + 1)^2 over all
    k from d on (Andriushchenko et al. 2020, eq. 2).
    """
    upper = size // 2
    both = torch.cat([_heap(upper, size), -_heap(size - upper, size)])
    whole: Tensor = both / both.norm().clamp_min(TINY)
    return whole


def _heap(high: int, wide: int) -> Tensor:
    down = (torch.arange(high) - high // 2).abs()[:, None]
    across = (torch.arange(wide) - wide // 2).abs()[None]
    layers = torch.arange(1, max(high, wide) // 2 + 2)
    heights = (1 / layers**2).flip(0).cumsum(0).flip(0)
    heap = heights[torch.maximum(down, across)]
    unit: Tensor = heap / heap.norm().clamp_min(TINY)
    return unit
