"""Membership at a low false positive rate: the members that are identified with few errors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from robustbench_kd.core.errors import BadSetting
from robustbench_kd.core.estimates import Estimate
from robustbench_kd.metrics._membership import MembershipMetric, Scores
from robustbench_kd.ops.statistics.roc import tpr_at
from robustbench_kd.results.groups import SeedGroup
from robustbench_kd.results.record import Bits, Column


@dataclass(frozen=True)
class MembershipTpr(MembershipMetric):
    """Share of members above the threshold that at most ``fpr`` of the others exceed.

    Given only where there are enough others for that rate: a hundred for 1 %.

    Args:
        fpr: the false positive rate, as a share.
    """

    name: ClassVar[str] = "membership-tpr"
    margin: ClassVar[float] = 5.0

    fpr: float = 0.01

    def __post_init__(self) -> None:
        if not 0 < self.fpr < 1:
            raise BadSetting(f"{self.name} needs an fpr between 0 and 1, not fpr={self.fpr:g}")

    @property
    def title(self) -> str:
        return f"membership TPR at {100 * self.fpr:g} % FPR"

    def estimate(self, scores: Scores) -> Estimate | None:
        if not scores.members or self.fpr * len(scores.others) < 1 - 1e-9:
            return None
        rate = tpr_at(scores.members, scores.others, self.fpr)
        return Estimate(rate.value, rate.low, rate.high, rate.count, rate.hits)

    def why_none(self, group: SeedGroup) -> str:
        return super().why_none(group) or "too few non-members"

    def member_values(self, scores: Scores) -> Column:
        """Which members are identified."""
        threshold = tpr_at(scores.members, scores.others, self.fpr).threshold
        return Bits.of([score > threshold for score in scores.members])
