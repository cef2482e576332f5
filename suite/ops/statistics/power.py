"""The power of a paired comparison, and the smallest drop that it detects.

A gate that cannot detect the drop it guards against fails silently, so this is always printed.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from math import ceil, exp, floor, lgamma, log, sqrt
from statistics import NormalDist

from robustbench_kd.ops.statistics.paired_tests import ONE_SIDED, Test

POWER = 0.8  # the customary chance of detecting the smallest detectable drop
FAR = 6.0  # standard deviations; what lies farther out has a probability below 1e-8
RESOLUTION = 1e-4  # of a drop: a hundredth of a percentage point


@lru_cache(maxsize=4096)
def critical(pairs: int, alpha: float, test: Test = "midp") -> int:
    """The least number lost, of so many discordant pairs, that is significant.

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
    """The probability of detecting a true drop with ``count`` examples.

    Args:
        count: examples on which both networks were evaluated.
        drop: the true share lost, less the share won.
        churn: the share that changes each way for other reasons: another training, randomness of an
            attack.
        alpha: the level of the one-sided test.
        test: ``midp`` or ``exact``.

    Raises:
        ValueError: for impossible shares.
    """
    lost, won = churn + drop, churn
    if count < 1 or churn < 0 or drop < 0 or lost + won > 1:
        raise ValueError(f"no drop of {drop:g} with {churn:g} churn each way on {count} examples")
    if lost + won == 0:
        return 0.0
    share = lost / (lost + won)
    return sum(
        weight * _at_least(critical(pairs, alpha, test), pairs, share)
        for pairs, weight in _likely_pairs(count, lost + won)
    )


@lru_cache(maxsize=4096)
def detectable(
    count: int, churn: float, alpha: float = 0.05, test: Test = "midp", target: float = POWER
) -> float | None:
    """The smallest true drop that is detected with the target power; None where no drop is.

    Raises:
        ValueError: where more than half of the examples change each way.
    """
    low, high = 0.0, 1 - 2 * churn
    if power(count, high, churn, alpha, test) < target:
        return None
    near = 6 * sqrt((2 * churn + 1 / count) / count) + 8 / count  # the power of large drops is slow
    if near < high and power(count, near, churn, alpha, test) >= target:
        high = near
    while high - low > RESOLUTION:
        middle = (low + high) / 2
        if power(count, middle, churn, alpha, test) < target:
            low = middle
        else:
            high = middle
    return high


def examples_needed(drop: float, churn: float, alpha: float = 0.05) -> int:
    """About how many examples detect a drop with the usual power, rounded up to two digits.

    The normal approximation of Connor 1987 (Biometrics 43:207-211), which needs no search; at
    small numbers the exact power is a few points off.

    Raises:
        ValueError: for impossible shares, or for no drop at all.
    """
    if not (drop > 0 and churn >= 0 and 2 * churn + drop <= 1):
        raise ValueError(f"no number of examples shows a drop of {drop:g} at {churn:g} churn")
    differing, quantile = 2 * churn + drop, NormalDist().inv_cdf
    root = quantile(1 - alpha) * sqrt(differing) + quantile(POWER) * sqrt(differing - drop**2)
    count = ceil((root / drop) ** 2)
    digit = int(10 ** max(0, len(str(count)) - 2))
    return -(-count // digit) * digit


def _likely_pairs(count: int, share: float) -> Iterator[tuple[int, float]]:
    """The likely numbers of discordant pairs, each with its probability."""
    middle, reach = count * share, FAR * sqrt(count * share * (1 - share)) + FAR
    for pairs in range(max(0, floor(middle - reach)), min(count, ceil(middle + reach)) + 1):
        yield pairs, _mass(pairs, count, share)


def _at_least(k: int, n: int, share: float) -> float:
    """P(Bin(n, share) >= k), summed outwards from k until the rest is negligible."""
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
