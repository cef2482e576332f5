"""How well a score tells members from strangers, higher meaning member. No dependency."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil, exp, floor, inf, isnan, lgamma, log, log1p, sqrt
from statistics import NormalDist, fmean, variance

from robustbench_kd.ops.statistics.proportions import wilson


@dataclass(frozen=True)
class Area:
    """The chance that a member scores above a stranger, ties counting half, with its interval."""

    value: float
    low: float
    high: float
    members: int
    strangers: int


@dataclass(frozen=True)
class Caught:
    """Members above a threshold, and the strangers above it too.

    ``low`` and ``high`` bound the share that would be caught at exactly the rate that was asked
    for, had one all strangers. They are wide where strangers are few: of a hundred, one in a
    hundred is one, and could as well have been none or four.
    """

    hits: int
    count: int
    false_alarms: int
    strangers: int
    threshold: float
    low: float
    high: float

    @property
    def value(self) -> float:
        """The share of members caught."""
        return self.hits / self.count

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of the share caught at this very threshold, whatever its rate."""
        return wilson(self.hits, self.count)


def auc(members: Sequence[float], strangers: Sequence[float], confidence: float = 0.95) -> Area:
    """The area under the ROC curve, with an interval that spans two.

    DeLong's variance (1988) on the scale of log-odds holds for any two laws, but is zero where the
    scores separate perfectly, and too small near there. Newcombe's score interval (2006, method 5)
    holds near there, but takes both laws for exponential. The wider end counts on either side.

    Raises:
        ValueError: where either side has fewer than two scores, or one is not a number.
    """
    _check(members, strangers, 2)
    ours, theirs = sorted(members), sorted(strangers)
    above = [_place(score, theirs) for score in members]
    value = fmean(above)
    below = [1 - _place(score, ours) for score in strangers]
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    spread = sqrt(variance(above) / len(above) + variance(below) / len(below))
    low, high = _newcombe(value, len(members), len(strangers), z)
    if 0 < value < 1:
        odds, half = log(value / (1 - value)), z * spread / (value * (1 - value))
        low, high = min(low, _share(odds - half)), max(high, _share(odds + half))
    return Area(value, low, high, len(members), len(strangers))


def tpr_at(members: Sequence[float], strangers: Sequence[float], fpr: float = 0.01) -> Caught:
    """Members caught by the lowest threshold that at most this share of strangers exceeds.

    The threshold is a stranger's score and must be exceeded, so that ties with strangers never
    count as caught. Wilson's interval at that threshold, which is often given, covers the share at
    the rate itself half of the time (1 % of 100, 300 or 1,000 strangers), for the threshold is as
    uncertain. So half of the 5 % goes to where the threshold belongs, by the binomial law of how
    many strangers exceed it, and half to Wilson's ends there.

    Raises:
        ValueError: where there are too few strangers for this rate, or a score is not a number.
    """
    _check(members, strangers, 1)
    if not 0 < fpr < 1:
        raise ValueError(f"the false positive rate must lie between 0 and 1, not {fpr}")
    allowed = floor(fpr * len(strangers) + 1e-9)
    if allowed < 1:
        raise ValueError(
            f"a false positive rate of {fpr:g} needs at least {ceil(1 / fpr - 1e-9)} strangers, "
            f"not {len(strangers)}"
        )
    ordered = [inf, *sorted(strangers, reverse=True), -inf]
    threshold = ordered[allowed + 1]
    hits, alarms = (sum(score > threshold for score in side) for side in (members, strangers))
    few, many = _likely(len(strangers), fpr)
    surely = sum(score > ordered[few] for score in members)
    perhaps = sum(score >= ordered[many + 1] for score in members)
    low, high = wilson(surely, len(members), 0.975)[0], wilson(perhaps, len(members), 0.975)[1]
    return Caught(hits, len(members), alarms, len(strangers), threshold, low, high)


def _likely(count: int, share: float, miss: float = 0.0125) -> tuple[int, int]:
    """Between what numbers a binomial variable lies, missing this much on either side at most."""
    few, many, below = 0, count, 0.0
    for k in range(count + 1):
        ways = lgamma(count + 1) - lgamma(k + 1) - lgamma(count - k + 1)
        below += exp(ways + k * log(share) + (count - k) * log1p(-share))
        few = k + 1 if below <= miss else few
        if below >= 1 - miss:
            many = k
            break
    return few, many


def _check(members: Sequence[float], strangers: Sequence[float], least: int) -> None:
    for side, scores in (("members", members), ("strangers", strangers)):
        if len(scores) < least:
            raise ValueError(f"{len(scores)} {side} are too few; at least {least} are needed")
        if any(isnan(score) for score in scores):
            raise ValueError(f"a score of the {side} is not a number")


def _place(score: float, ordered: Sequence[float]) -> float:
    """The share of ordered scores below this one, ties counting half."""
    return (bisect_left(ordered, score) + bisect_right(ordered, score)) / (2 * len(ordered))


def _share(odds: float) -> float:
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
