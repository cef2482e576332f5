"""Exposure: by how many bits inserted canaries stand out among all candidate secrets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from robustbench_kd.core.estimates import Estimate
from robustbench_kd.metrics._canaries import Canary, CanaryMetric
from robustbench_kd.ops.privacy.exposure import mean_exposure
from robustbench_kd.results.groups import SeedGroup
from robustbench_kd.results.record import Column


@dataclass(frozen=True)
class Exposure(CanaryMetric):
    """Mean exposure in bits; 1.44 bits is what a canary has that was never inserted.

    Half a bit is tolerated: ranks that are better by the factor 1.4.
    """

    name: ClassVar[str] = "exposure"
    margin: ClassVar[float] = 0.5

    def estimate(self, canaries: Sequence[Canary]) -> Estimate:
        most = max(canary.candidates for canary in canaries)
        return mean_exposure([canary.exposure for canary in canaries], most)

    def sample_values(self, group: SeedGroup, role: str) -> Column:
        return tuple(canary.exposure for canary in self.own_canaries(group, role))
