"""Exposure reduction: how far a defense lowers exposure from that of plain distillation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from robustbench_kd.core.estimates import Estimate
from robustbench_kd.metrics._base import Metric
from robustbench_kd.metrics._canaries import ALL, ALL_BUT, ATTACK, canaries_of, formats_of
from robustbench_kd.metrics._model import holds
from robustbench_kd.metrics._reference import common_records, why_no_comparison
from robustbench_kd.ops.privacy.exposure import reduction
from robustbench_kd.results.groups import SeedGroup
from robustbench_kd.results.record import Record


@dataclass(frozen=True)
class ExposureReduction(Metric):
    """By which share the student's exposure above chance is below the reference's.

    Canaries are paired, over the seeds that both have. There is no value where the reference's own
    exposure may be chance: there was nothing to reduce.

    Args:
        format: of the canaries: ``digits``, ``all`` (or nothing), ``all but digits``.
    """

    name: ClassVar[str] = "exposure-reduction"
    margin: ClassVar[float] = 5.0

    format: str = ""

    @property
    def heading(self) -> str:
        return super().heading + (f", {self.format}" if self.format else "")

    def available(self, record: Record) -> bool:
        return holds(record, ATTACK, "rank")

    def __call__(self, group: SeedGroup, reference: SeedGroup | None = None) -> Estimate | None:
        return _reduction(group, reference, self.format)

    def why_none(self, group: SeedGroup) -> str:
        return why_no_comparison(group)

    def breakdown(
        self, group: SeedGroup, reference: SeedGroup | None = None
    ) -> Mapping[str, Estimate | None]:
        """By format, and by all formats but one where there are several."""
        formats = formats_of(group.first)
        others = [ALL_BUT + name for name in formats] if len(formats) > 1 else []
        return {name: _reduction(group, reference, name) for name in (ALL, *formats, *others)}


def _reduction(group: SeedGroup, reference: SeedGroup | None, selection: str) -> Estimate | None:
    """Of several formats each pair counts by its own ceiling; the widest bounds the interval."""
    records, others = common_records(group, reference)
    if not records:
        return None
    sides = [
        [canaries_of([record], "student", selection) for record in side]
        for side in (records, others)
    ]
    every = [canary for canaries in sides[0] for canary in canaries]
    if not every:
        return None
    student, plain = (
        [[canary.exposure for canary in canaries] for canaries in side] for side in sides
    )
    return reduction(student, plain, max(canary.candidates for canary in every))
