"""Control of the ranking itself: canaries that were never inserted must rank as chance has it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from robustbench_kd.core.estimates import Estimate
from robustbench_kd.metrics._base import Unit
from robustbench_kd.metrics._canaries import Canary, CanaryMetric
from robustbench_kd.metrics._intervals import point
from robustbench_kd.ops.privacy.exposure import chance_p
from robustbench_kd.results.groups import SeedGroup


@dataclass(frozen=True)
class ChanceP(CanaryMetric):
    """Two-sided p-value that canaries are exposed as if never inserted; by default of such ones.

    Where it is small at ``repetitions=0``, ranks do not measure memorization.
    """

    name: ClassVar[str] = "chance-p"
    unit: ClassVar[Unit] = "p"
    digits: ClassVar[int] = 3
    higher_is_better: ClassVar[bool] = True
    margin: ClassVar[float] = 1.0  # p-values are not compared

    repetitions: int | None = 0

    def estimate(self, canaries: Sequence[Canary]) -> Estimate:
        exposures = [canary.exposure for canary in canaries]
        smallest = min(canary.candidates for canary in canaries)
        return point(chance_p(exposures, smallest), len(canaries))

    def breakdown(
        self, group: SeedGroup, reference: SeedGroup | None = None
    ) -> Mapping[str, Estimate | None]:
        """By model, of canaries that were never inserted."""
        return {role: self.selected(group, role, repetitions=0) for role in self.roles(group)}
