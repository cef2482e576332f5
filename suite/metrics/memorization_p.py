"""Whether canaries are memorized at all: the p-value that luck exposes them as much."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from robustbench_kd.core.estimates import Estimate
from robustbench_kd.metrics._base import Unit
from robustbench_kd.metrics._canaries import Canary, CanaryMetric
from robustbench_kd.metrics._intervals import point
from robustbench_kd.ops.privacy.exposure import memorised_p
from robustbench_kd.results.groups import SeedGroup


@dataclass(frozen=True)
class MemorizationP(CanaryMetric):
    """One-sided p-value that as many canaries are as exposed although none was inserted."""

    name: ClassVar[str] = "memorization-p"
    unit: ClassVar[Unit] = "p"
    digits: ClassVar[int] = 3
    higher_is_better: ClassVar[bool] = True
    margin: ClassVar[float] = 1.0  # p-values are not compared

    def estimate(self, canaries: Sequence[Canary]) -> Estimate:
        return point(memorised_p([canary.exposure for canary in canaries]), len(canaries))

    def breakdown(
        self, group: SeedGroup, reference: SeedGroup | None = None
    ) -> Mapping[str, Estimate | None]:
        """By model, of all canaries that were inserted."""
        return {role: self.selected(group, role) for role in self.roles(group)}
