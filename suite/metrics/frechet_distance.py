"""Frechet distance of generated images from real ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import fsum
from typing import ClassVar

from robustbench_kd.core.estimates import Estimate
from robustbench_kd.metrics._base import Metric, Unit
from robustbench_kd.metrics._columns import first_attack
from robustbench_kd.metrics._share import model_name, role_of
from robustbench_kd.metrics._trigger_removal import holds_column
from robustbench_kd.results.groups import SeedGroup
from robustbench_kd.results.record import Record


@dataclass(frozen=True)
class FrechetDistance(Metric):
    """Squared Frechet distance of images of clean prompts from real ones, a mean over the seeds.

    In the features of our oracle classifier, so it is not FID. It is a property of all images
    together and no mean over them; its interval is not known.

    Args:
        model: as for ``attack-success``.
    """

    name: ClassVar[str] = "frechet-distance"
    unit: ClassVar[Unit] = "distance"
    digits: ClassVar[int] = 2
    higher_is_better: ClassVar[bool] = False
    margin: ClassVar[float] = 0.5

    model: str = "student"

    @property
    def heading(self) -> str:
        return f"Frechet distance of {model_name(self.model)}"

    def available(self, record: Record) -> bool:
        return holds_column(record, "frechet")

    def __call__(self, group: SeedGroup, reference: SeedGroup | None = None) -> Estimate | None:
        role = role_of(group, self.model)
        if role is None or role not in group.first.attacks[first_attack(group.first)].columns:
            return None
        return _distance(group, role)

    def why_none(self, group: SeedGroup) -> str:
        return f"no {model_name(self.model)}"

    def remark(self, group: SeedGroup) -> str:
        return "no interval"

    def breakdown(
        self, group: SeedGroup, reference: SeedGroup | None = None
    ) -> Mapping[str, Estimate | None]:
        """By model."""
        roles = group.first.attacks[first_attack(group.first)].columns
        return {role: _distance(group, role) for role in roles}


def _distance(group: SeedGroup, role: str) -> Estimate:
    """The mean over the seeds; a record repeats its distance for each prompt."""
    columns = [record.numbers(first_attack(record), role, "frechet") for record in group.records]
    mean = fsum(column[0] for column in columns) / len(columns)
    return Estimate(mean, mean, mean, sum(map(len, columns)))
