"""Membership AUC: the chance that a training sample scores above one that was left out."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

from robustbench_kd.core.estimates import Estimate
from robustbench_kd.metrics._base import Unit
from robustbench_kd.metrics._membership import MembershipMetric, Scores
from robustbench_kd.ops.statistics.roc import auc
from robustbench_kd.results.record import Column, Numbers


@dataclass(frozen=True)
class MembershipAuc(MembershipMetric):
    """Area under the ROC curve; 0.5 is chance. Its count is members and others together."""

    name: ClassVar[str] = "membership-auc"
    unit: ClassVar[Unit] = "auc"
    digits: ClassVar[int] = 2
    margin: ClassVar[float] = 0.02

    @property
    def title(self) -> str:
        return "membership AUC"

    def estimate(self, scores: Scores) -> Estimate | None:
        if min(map(len, scores)) < 2:
            return None
        return _auc(tuple(scores.members), tuple(scores.others))

    def member_values(self, scores: Scores) -> Column:
        """The share of others below each member, ties counting half; their mean is the AUC."""
        others = sorted(scores.others)
        return tuple(
            (bisect_left(others, score) + bisect_right(others, score)) / (2 * len(others))
            for score in scores.members
        )


@lru_cache(maxsize=1024)  # the rows of a leaderboard share models, whose scores recur
def _auc(members: Numbers, others: Numbers) -> Estimate:
    return auc(members, others)
