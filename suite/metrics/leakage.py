"""Leakage: exposure above chance as a share of what could leak at most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log2
from typing import ClassVar

from robustbench_kd.core.estimates import Estimate
from robustbench_kd.metrics._base import Unit
from robustbench_kd.metrics._canaries import ALL, Canary, CanaryMetric, canaries_of, formats_of
from robustbench_kd.metrics._share import role_of
from robustbench_kd.ops.privacy.exposure import CHANCE, leakage
from robustbench_kd.results.groups import SeedGroup
from robustbench_kd.results.record import Column

WORST = "worst"


@dataclass(frozen=True)
class Leakage(CanaryMetric):
    """0 % where canaries are exposed as if never inserted, 100 % where each ranks first.

    ``format=worst`` is the format that leaks most, which the remark names: the largest of several
    estimates, which flatters the adversary.
    """

    name: ClassVar[str] = "leakage"
    unit: ClassVar[Unit] = "percent"
    margin: ClassVar[float] = 4.0  # half a bit among 10,000 candidates

    format: str = WORST

    def estimate(self, canaries: Sequence[Canary]) -> Estimate:
        exposures = [canary.exposure for canary in canaries]
        return leakage(exposures, [canary.candidates for canary in canaries])

    def value(self, group: SeedGroup, role: str) -> Estimate | None:
        selection = self._worst(group, role) if self.format == WORST else self.format
        return self.selected(group, role, selection, self.repetitions)

    def remark(self, group: SeedGroup) -> str:
        role = role_of(group, self.model)
        known = self.format == WORST and role in self.roles(group)
        return self._worst(group, role) if known and role else ""

    def _worst(self, group: SeedGroup, role: str) -> str:
        """The format with the largest leakage."""
        shares = {
            name: share.value
            for name in formats_of(group.first)
            if (share := self.selected(group, role, name, self.repetitions)) is not None
        }
        return max(shares, key=shares.__getitem__, default="")

    def sample_values(self, group: SeedGroup, role: str) -> Column:
        """Leakage of each canary, not clipped; where the worst counts, of all, so as to pair."""
        selection = ALL if self.format == WORST else self.format
        return tuple(
            (canary.exposure - CHANCE) / (log2(canary.candidates) - CHANCE)
            for canary in canaries_of(group.records, role, selection, self.repetitions)
        )

    def breakdown(
        self, group: SeedGroup, reference: SeedGroup | None = None
    ) -> Mapping[str, Estimate | None]:
        """The student's, by format."""
        by_format = {f"student/{name}": name for name in formats_of(group.first)}
        return {
            key: self.selected(group, "student", selection)
            for key, selection in {"student": ALL, **by_format}.items()
        }
