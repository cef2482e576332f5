"""Canaries ranked first: the secret is the model's first guess among all candidates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from robustbench_kd.core.estimates import Estimate
from robustbench_kd.metrics._base import Unit
from robustbench_kd.metrics._canaries import Canary, CanaryMetric
from robustbench_kd.results.groups import SeedGroup
from robustbench_kd.results.record import Bits, Column


@dataclass(frozen=True)
class FirstRanked(CanaryMetric):
    """Share of the canaries whose rank is 1."""

    name: ClassVar[str] = "first-ranked"
    unit: ClassVar[Unit] = "percent"
    margin: ClassVar[float] = 5.0

    def estimate(self, canaries: Sequence[Canary]) -> Estimate:
        return Estimate.share(sum(canary.rank == 1 for canary in canaries), len(canaries))

    def sample_values(self, group: SeedGroup, role: str) -> Column:
        return Bits.of([canary.rank == 1 for canary in self.own_canaries(group, role)])
