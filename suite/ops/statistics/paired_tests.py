"""Two runs on the same examples, compared pair by pair.

Examples on which both agree say nothing about the difference. ``lost`` counts right -> wrong and
``won`` wrong -> right.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from math import exp, lgamma, log, sqrt
from statistics import NormalDist
from typing import Literal

Test = Literal["midp", "exact"]


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


def mcnemar_midp(lost: int, won: int) -> float:
    """One-sided mid-p value: the exact one less half the probability of what was seen.

    Fagerland, Lydersen and Laake 2013 found it at or below its level in all of 9,595 scenarios, and
    the exact one far below. It is one half where nothing changed: chance has lost as much or more
    in one case of two.
    """
    pairs = lost + won
    return (_tail(lost, pairs) + _tail(lost + 1, pairs)) / 2


@lru_cache(maxsize=4096)  # suites of many cells ask for the same few tables
def tango(lost: int, won: int, count: int, confidence: float = 0.95) -> tuple[float, float]:
    """Score interval of the drop (lost - won) / count (Tango 1998), found by bisection."""
    if count < 1 or lost < 0 or won < 0 or lost + won > count:
        raise ValueError(f"no pairs: {lost} lost and {won} won of {count}")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    point = (lost - won) / count
    table = lost, won, count
    return _solved(table, z, -1.0, point), _solved(table, -z, point, 1.0)


def _solved(table: tuple[int, int, int], level: float, low: float, high: float) -> float:
    """The drop at which the score is at this level; the score falls as the drop rises."""
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _score(*table, middle) > level else (low, middle)
    return (low + high) / 2


def _score(lost: int, won: int, count: int, delta: float) -> float:
    """How far, in standard errors, what was seen lies above a true drop of ``delta``."""
    b = -lost - won + (2 * count - lost + won) * delta
    c = -won * delta * (1 - delta)
    q = (sqrt(max(0.0, b * b - 8 * count * c)) - b) / (4 * count)
    spread = count * (2 * q + delta * (1 - delta))
    gap = lost - won - count * delta
    return gap / sqrt(spread) if spread > 0 else (0.0 if gap == 0 else gap * 1e12)


ONE_SIDED: dict[Test, Callable[[int, int], float]] = {
    "midp": mcnemar_midp,
    "exact": mcnemar_exact,
}
