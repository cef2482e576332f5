"""Estimates of means and ratios of what records hold sample by sample."""

from __future__ import annotations

from collections.abc import Sequence
from math import fsum, sqrt

from robustbench_kd.core.estimates import Estimate

Z = 1.96  # of a two-sided 95 % interval


def point(value: float, count: int) -> Estimate:
    """A bound or a p-value: it has no interval of its own, and both ends are the value."""
    return Estimate(value, value, value, count)


def normal_mean(values: Sequence[float]) -> Estimate | None:
    """The mean with a 95 % interval by the normal law, for hundreds of values.

    None below two values, which show no spread.
    """
    if len(values) < 2:
        return None
    mean = fsum(values) / len(values)
    variance = fsum((value - mean) ** 2 for value in values) / (len(values) - 1)
    half = Z * sqrt(variance / len(values))
    return Estimate(mean, mean - half, mean + half, len(values))


def ratio_values(totals: Sequence[float], sizes: Sequence[float]) -> list[float]:
    """A value a row, whose mean is the sum of the totals over the sum of the sizes.

    Rows count by their size. The spread of these values is that of the ratio, to first order.
    """
    ratio = fsum(totals) / fsum(sizes)
    mean_size = fsum(sizes) / len(sizes)
    return [
        ratio + (total - ratio * size) / mean_size
        for total, size in zip(totals, sizes, strict=True)
    ]
