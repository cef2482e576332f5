"""Saddlepoint approximation of a probability (Lugannani and Rice 1980). Needs no torch."""

from __future__ import annotations

from collections.abc import Callable
from math import inf, log, sqrt


def saddlepoint(slopes: Callable[[float], tuple[float, float]], low: float, high: float) -> float:
    """Where a rising function is zero, by its value and slope: Newton's method in a bracket."""
    point = 0.0
    for _ in range(200):
        value, derivative = slopes(point)
        low, high = (point, high) if value < 0 else (low, point)
        step = value / derivative
        following = point - step
        if not low < following < high:
            # Outside of the bracket: halve it, or walk where it has no end.
            following = (low + high) / 2 if abs(low) + abs(high) < inf else 2 * point or -step
        if abs(following - point) <= 1e-10 * max(1.0, abs(point)):
            break
        point = following
    return point


def signed_root(s: float, height: float, spread: float, skew: float) -> float:
    """Barndorff-Nielsen's r* of a saddlepoint: close to standard normal.

    Args:
        s: the saddlepoint.
        height: the cumulant generating function there, less s times the point.
        spread: square root of its second derivative there.
        skew: of the distribution at the saddlepoint zero, for the limit there.
    """
    root = sqrt(max(0.0, -2 * height)) * (1 if s > 0 else -1)
    if abs(root) < 1e-3:
        return root + skew / 6
    return root + log(s * spread / root) / root
