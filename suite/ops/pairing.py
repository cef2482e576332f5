"""Two runs on the same examples, compared pair by pair.

Examples on which both agree say nothing about the difference. ``lost`` counts right -> wrong and
``won`` wrong -> right.
"""

from __future__ import annotations

from math import exp, lgamma, log, sqrt
from statistics import NormalDist


def _tail(k: int, n: int) -> float:
    """P(Bin(n, 1/2) >= k)."""
    if k <= 0:
        return 1.0
    base = lgamma(n + 1) - n * log(2)
    return min(1.0, sum(exp(base - lgamma(i + 1) - lgamma(n - i + 1)) for i in range(k, n + 1)))


def mcnemar_exact(lost: int, won: int) -> float:
    """One-sided exact p-value that ``lost`` exceeds ``won`` by chance (McNemar 1947)."""
    return _tail(lost, lost + won)


def mcnemar_two_sided(lost: int, won: int) -> float:
    """Two-sided exact p-value: twice the smaller tail, at most one."""
    return min(1.0, 2 * _tail(max(lost, won), lost + won))


def tango(lost: int, won: int, count: int, confidence: float = 0.95) -> tuple[float, float]:
    """Score interval of the drop (lost - won) / count (Tango 1998), found by bisection."""
    if count < 1 or lost < 0 or won < 0 or lost + won > count:
        raise ValueError(f"no pairs: {lost} lost and {won} won of {count}")
    z = NormalDist().inv_cdf((1 + confidence) / 2)

    def score(delta: float) -> float:
        b = -lost - won + (2 * count - lost + won) * delta
        c = -won * delta * (1 - delta)
        q = (sqrt(max(0.0, b * b - 8 * count * c)) - b) / (4 * count)
        spread = count * (2 * q + delta * (1 - delta))
        gap = lost - won - count * delta
        return gap / sqrt(spread) if spread > 0 else (0.0 if gap == 0 else gap * 1e12)

    def solve(level: float, low: float, high: float) -> float:
        for _ in range(60):  # the score falls as delta rises
            middle = (low + high) / 2
            low, high = (middle, high) if score(middle) > level else (low, middle)
        return (low + high) / 2

    point = (lost - won) / count
    return solve(z, -1.0, point), solve(-z, point, 1.0)
