"""What Square Attack tries in a window: its sizes, its places, and the bump of the L2 form."""

from __future__ import annotations

import torch
from torch import Tensor

from robustbench_kd.shapes import Images

# How often the share of pixels is halved, by the queries spent of 10,000 (the paper, section 4.1).
HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)


def share(query: int, queries: int, first: float) -> float:
    """The share of pixels a window covers at this query of so many; it starts at ``first``.

    The last entry of the schedule halves twice in the authors' code, which is kept.
    """
    spent = query * 10_000 // queries
    halvings = sum(spent > turn for turn in HALVINGS[:-1])
    return float(first / 2 ** (halvings if spent <= HALVINGS[-1] else 9))


def places(rows: int, span: int, size: int, generator: torch.Generator) -> Tensor:
    """The first pixel of a window of this size within ``span``, one a row; shape (rows,)."""
    return torch.randint(0, span - size + 1, (rows,), generator=generator)


def signs(rows: int, channels: int, generator: torch.Generator) -> Tensor:
    """-1 or 1, one a row and channel; shape (rows, channels)."""
    return (torch.randint(0, 2, (rows, channels), generator=generator) * 2 - 1).float()


def inside(offset: Tensor, size: int) -> Tensor:
    """Which offsets from a window's first pixel lie in the window."""
    return (offset >= 0) & (offset < size)


def bump(size: int) -> Tensor:
    """Two opposite heaps side by side, of norm one; shape (size, size).

    A heap at Chebyshev distance d from its centre is sum over k >= d of 1 / (k + 1)^2
    (Andriushchenko et al. 2020, eq. 2).
    """
    upper = size // 2
    both = torch.cat([_heap(upper, size), -_heap(size - upper, size)])
    return both / both.norm()


def _heap(high: int, wide: int) -> Tensor:
    rows = (torch.arange(high) - high // 2).abs()[:, None]
    columns = (torch.arange(wide) - wide // 2).abs()[None]
    last = max(high, wide) // 2 + 1
    steps = 1 / torch.arange(1, last + 1).double() ** 2
    heights = steps.flip(0).cumsum(0).flip(0).float()
    heap = heights[torch.maximum(rows, columns).clamp_max(last - 1)]
    return heap / heap.norm()


__all__ = ["Images", "bump", "inside", "places", "share", "signs"]
