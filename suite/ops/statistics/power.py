"""What a comparison can see at all: its power, and the smallest drop that it will likely show.

A gate that cannot see the drop it guards against fails in silence, so this is printed always.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from math import ceil, exp, floor, lgamma, log, sqrt
from statistics import NormalDist

from robustbench_kd.ops.statistics.paired_tests import ONE_SIDED, Test

POWER = 0.8  # the chance to show the smallest detectable drop, as is the custom
FAR = 6.0  # standard deviations; what lies farther out weighs less than 1e-8
FINE = 1e-4  # drops are told apart to a hundredth of a point


@lru_cache(maxsize=4096)
def critical(pairs: int, alpha: float, test: Test = "midp") -> int:
    """The least number lost, of so many pairs that differ, that is more than chance.

    One more than ``pairs`` where even the loss of all of them is not.
    """
    low, high = pairs // 2, pairs + 1
    while low < high:
        middle = (low + high) // 2
        if ONE_SIDED[test](middle, pairs - middle) <= alpha:
            high = middle
        else:
            low = middle + 1
    return low


def power(count: int, drop: float, churn: float, alpha: float = 0.05, test: Test = "midp") -> float:
    """The chance to show a true drop, over all that ``count`` examples can turn out to be.

    Args:
        count: examples that both networks were asked.
        drop: the true share lost, less the share won.
        churn: the share that changes each way for no reason: another training, luck of an attack.
        alpha: the level of the one-sided test.
        test: ``midp`` or ``exact``.

    Raises:
        ValueError: for shares that no network can have.
    """
    lost, won = churn + drop, churn
    if count < 1 or churn < 0 or drop < 0 or lost + won > 1:
        raise ValueError(f"no drop of {drop:g} with {churn:g} churn each way on {count} examples")
    if lost + won == 0:
        return 0.0
    share = lost / (lost + won)
    return sum(
        weight * _at_least(critical(pairs, alpha, test), pairs, share)
        for pairs, weight in _likely(count, lost + won)
    )


@lru_cache(maxsize=4096)
def detectable(
    count: int, churn: float, alpha: float = 0.05, test: Test = "midp", wanted: float = POWER
) -> float | None:
    """The smallest true drop that is shown with the wanted power; none where no drop is.

    Raises:
        ValueError: where more than half of the examples change each way.
    """
    low, high = 0.0, 1 - 2 * churn
    if power(count, high, churn, alpha, test) < wanted:
        return None
    near = 6 * sqrt((2 * churn + 1 / count) / count) + 8 / count  # large drops take long to weigh
    if near < high and power(count, near, churn, alpha, test) >= wanted:
        high = near
    while high - low > FINE:
        middle = (low + high) / 2
        if power(count, middle, churn, alpha, test) < wanted:
            low = middle
        else:
            high = middle
    return high


def enough(drop: float, churn: float, alpha: float = 0.05) -> int:
    """About how many examples show a drop with the wanted power, rounded up to two digits.

    The normal approximation of Connor 1987 (Biometrics 43:207-211), which needs no search; at
    small numbers the exact power is a few points off.

    Raises:
        ValueError: for shares that no network can have, or for no drop at all.
    """
    if not (drop > 0 and churn >= 0 and 2 * churn + drop <= 1):
        raise ValueError(f"no number of examples shows a drop of {drop:g} at {churn:g} churn")
    differ, z = 2 * churn + drop, NormalDist().inv_cdf
    root = z(1 - alpha) * sqrt(differ) + z(POWER) * sqrt(differ - drop**2)
    count = ceil((root / drop) ** 2)
    digit = int(10 ** max(0, len(str(count)) - 2))
    return -(-count // digit) * digit


def _likely(count: int, share: float) -> Iterator[tuple[int, float]]:
    """The numbers of pairs that may differ, each with its probability."""
    middle, spread = count * share, FAR * sqrt(count * share * (1 - share)) + FAR
    for pairs in range(max(0, floor(middle - spread)), min(count, ceil(middle + spread)) + 1):
        yield pairs, _mass(pairs, count, share)


def _at_least(k: int, n: int, share: float) -> float:
    """P(Bin(n, share) >= k), summed outwards from k until the rest weighs nothing."""
    if k > n:
        return 0.0
    if share >= 1:
        return 1.0
    if k <= n * share:  # the other tail is the shorter one
        return 1 - _at_least(n - k + 1, n, 1 - share)
    mass = total = _mass(k, n, share)
    odds = share / (1 - share)
    for i in range(k, n):
        mass *= (n - i) / (i + 1) * odds
        total += mass
        if mass < 1e-12 * total:
            break
    return min(1.0, total)


def _mass(k: int, n: int, share: float) -> float:
    """P(Bin(n, share) = k)."""
    if share <= 0 or share >= 1:
        return float(k == (0 if share <= 0 else n))
    ways = lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1)
    return exp(ways + k * log(share) + (n - k) * log(1 - share))
