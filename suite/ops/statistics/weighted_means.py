"""The distribution of a mean whose weights are drawn uniformly, as in the Bayesian bootstrap.

Rubin 1981. It is computed by a saddlepoint approximation instead of draws, so there is no seed and
no error of simulation, and small probabilities cost no more than large ones. Needs no torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from math import fsum, inf, log1p, sqrt
from statistics import NormalDist

from robustbench_kd.ops.statistics.saddlepoint import saddlepoint, signed_root

NORMAL = NormalDist()


def weighted_mean_cdf(bound: float, values: Sequence[float]) -> float:
    """The chance that a mean of the values under uniformly drawn weights is at most ``bound``."""
    return NORMAL.cdf(_score(bound, values))


def weighted_mean_quantile(level: float, values: Sequence[float]) -> float:
    """The bound that such a mean stays below with this chance."""
    least, most = min(values), max(values)
    if least == most:
        return least
    target, mean = NORMAL.inv_cdf(level), fsum(values) / len(values)
    # The score rises almost linearly; its slope is at first that of the normal distribution.
    step = sqrt(fsum((v - mean) ** 2 for v in values)) / len(values)
    low, high = least, most
    point, score = mean, _score(mean, values)
    for _ in range(100):
        low, high = (point, high) if score < target else (low, point)
        if abs(score - target) < 1e-5 or high - low < 1e-9 * (most - least):
            break
        following = point + (target - score) * step
        if not low < following < high:
            following = (low + high) / 2
        last, point = point, following
        before, score = score, _score(point, values)
        step = (point - last) / (score - before) if score != before else step
    return point


def mean_interval(
    values: Sequence[float], least: float | None = None, most: float | None = None
) -> tuple[float, float]:
    """95 % interval of a mean, which reckons with one value that was not sampled.

    Args:
        least: the least possible value; the least of these unless given.
        most: the greatest possible value; the greatest of these unless given.
    """
    least = min(values) if least is None else least
    most = max(values) if most is None else most
    low = weighted_mean_quantile(0.025, (*values, least))
    return low, weighted_mean_quantile(0.975, (*values, most))


def _score(bound: float, values: Sequence[float]) -> float:
    """The standard normal quantile of ``weighted_mean_cdf``.

    Uniform weights are exponential variables over their sum, so that the mean is at most ``bound``
    where a sum of exponentials, each times its value's distance from the bound, is at most zero.
    """
    least, most = min(values) - bound, max(values) - bound
    if least >= 0 or most <= 0:
        return -inf if least >= 0 and most > 0 else inf
    scale = max(-least, most)
    y = [(value - bound) / scale for value in values]
    slopes = partial(_weight_slopes, y)
    s = saddlepoint(slopes, scale / least, scale / most)
    height = -fsum(log1p(-s * v) for v in y)
    squares = fsum(v * v for v in y)
    skew = 2 * fsum(v**3 for v in y) / squares**1.5
    return signed_root(s, height, sqrt(slopes(s)[1]), skew)


def _weight_slopes(values: list[float], s: float) -> tuple[float, float]:
    """First and second derivative of the log moment generating function, at ``s``.

    Of the sum of the values, each times an exponential variable.
    """
    terms = [v / (1 - s * v) for v in values]
    return fsum(terms), fsum(t * t for t in terms)
