"""How well a score separates members from non-members, higher meaning member. No dependency."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil, exp, floor, inf, isnan, lgamma, log, log1p, sqrt
from statistics import NormalDist, fmean, variance

from robustbench_kd.core.estimates import Estimate
from robustbench_kd.ops.statistics.proportions import wilson


@dataclass(frozen=True)
class TprAtFpr:
    """The members above a threshold, and the non-members above it too.

    ``low`` and ``high`` bound the share of members at exactly the requested false positive rate, in
    the limit of infinitely many non-members. They are wide where non-members are few: of a hundred,
    one in a hundred is one, and could as well have been none or four.
    """

    hits: int
    count: int
    false_positives: int
    nonmembers: int
    threshold: float
    low: float
    high: float

    @property
    def value(self) -> float:
        """The true positive rate."""
        return self.hits / self.count

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of the rate at this very threshold."""
        return wilson(self.hits, self.count)


def auc(
    members: Sequence[float], nonmembers: Sequence[float], confidence: float = 0.95
) -> Estimate:
    """The area under the ROC curve: the chance that a member scores above a non-member.

    Ties count half. The interval spans two: DeLong's variance (1988) on the scale of log-odds holds
    for any two distributions, but is zero where the scores separate perfectly, and too small near
    there. Newcombe's score interval (2006, method 5) holds near there, but takes both distributions
    for exponential. The wider end counts on either side.

    Raises:
        ValueError: where either side has fewer than two scores, or one is not a number.
    """
    _check_scores(members, nonmembers, 2)
    ordered_members, ordered_nonmembers = sorted(members), sorted(nonmembers)
    above = [_share_below(score, ordered_nonmembers) for score in members]
    value = fmean(above)
    below = [1 - _share_below(score, ordered_members) for score in nonmembers]
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    error = sqrt(variance(above) / len(above) + variance(below) / len(below))
    low, high = _newcombe(value, len(members), len(nonmembers), z)
    if 0 < value < 1:
        odds, half = log(value / (1 - value)), z * error / (value * (1 - value))
        low, high = min(low, _logistic(odds - half)), max(high, _logistic(odds + half))
    return Estimate(value, low, high, len(members) + len(nonmembers))


def tpr_at(members: Sequence[float], nonmembers: Sequence[float], fpr: float = 0.01) -> TprAtFpr:
    """Members above the lowest threshold that at most this share of non-members exceeds.

    The threshold is a non-member's score and must be exceeded, so that ties with non-members never
    count. Wilson's interval at that threshold, which is often given, covers the share at the rate
    itself half of the time (1 % of 100, 300 or 1,000 non-members), for the threshold is as
    uncertain. So half of the 5 % goes to where the threshold belongs, by the binomial law of how
    many non-members exceed it, and half to Wilson's ends there.

    Raises:
        ValueError: where there are too few non-members for this rate, or a score is not a number.
    """
    _check_scores(members, nonmembers, 1)
    if not 0 < fpr < 1:
        raise ValueError(f"the false positive rate must lie between 0 and 1, not {fpr}")
    allowed = floor(fpr * len(nonmembers) + 1e-9)
    if allowed < 1:
        raise ValueError(
            f"a false positive rate of {fpr:g} needs at least {ceil(1 / fpr - 1e-9)} non-members, "
            f"not {len(nonmembers)}"
        )
    ordered = [inf, *sorted(nonmembers, reverse=True), -inf]
    threshold = ordered[allowed + 1]
    hits, alarms = (sum(score > threshold for score in side) for side in (members, nonmembers))
    few, many = _binomial_range(len(nonmembers), fpr)
    least = sum(score > ordered[few] for score in members)
    most = sum(score >= ordered[many + 1] for score in members)
    low, high = wilson(least, len(members), 0.975)[0], wilson(most, len(members), 0.975)[1]
    return TprAtFpr(hits, len(members), alarms, len(nonmembers), threshold, low, high)


def _binomial_range(count: int, share: float, tail: float = 0.0125) -> tuple[int, int]:
    """The range that a binomial variable leaves with at most this probability on either side."""
    few, many, below = 0, count, 0.0
    for k in range(count + 1):
        ways = lgamma(count + 1) - lgamma(k + 1) - lgamma(count - k + 1)
        below += exp(ways + k * log(share) + (count - k) * log1p(-share))
        few = k + 1 if below <= tail else few
        if below >= 1 - tail:
            many = k
            break
    return few, many


def _check_scores(members: Sequence[float], nonmembers: Sequence[float], least: int) -> None:
    for side, scores in (("members", members), ("non-members", nonmembers)):
        if len(scores) < least:
            raise ValueError(f"{len(scores)} {side} are too few; at least {least} are needed")
        if any(isnan(score) for score in scores):
            raise ValueError(f"a score of the {side} is not a number")


def _share_below(score: float, ordered: Sequence[float]) -> float:
    """The share of ordered scores below this one, ties counting half."""
    return (bisect_left(ordered, score) + bisect_right(ordered, score)) / (2 * len(ordered))


def _logistic(odds: float) -> float:
    return 1 / (1 + exp(-odds)) if odds > -700 else 0.0


def _newcombe(value: float, m: int, n: int, z: float) -> tuple[float, float]:
    """The areas from which ``value`` is no more than z standard errors away."""
    half = (m + n) / 2 - 1

    def error(a: float) -> float:
        return sqrt(a * (1 - a) * (1 + half * (1 - a) / (2 - a) + half * a / (1 + a)) / (m * n))

    def edge(inside: float, outside: float, far: Callable[[float], bool]) -> float:
        for _ in range(60):
            middle = (inside + outside) / 2
            inside, outside = (inside, middle) if far(middle) else (middle, outside)
        return inside

    low = edge(value, 0.0, lambda a: a + z * error(a) < value)
    high = edge(value, 1.0, lambda a: a - z * error(a) > value)
    return low, high
