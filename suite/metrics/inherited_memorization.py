"""Inherited memorization: what the student has memorized because its teacher has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from robustbench_kd.core.config import REACHES_TEACHER
from robustbench_kd.core.estimates import Estimate
from robustbench_kd.metrics._base import Metric
from robustbench_kd.metrics._extraction import ATTACK, EXTRACTED, extracted_flags
from robustbench_kd.metrics._model import holds
from robustbench_kd.metrics._share import role_of
from robustbench_kd.ops.privacy.exposure import dynamics
from robustbench_kd.results.groups import SeedGroup
from robustbench_kd.results.record import Record


@dataclass(frozen=True)
class InheritedMemorization(Metric):
    """Of the canaries that teacher but not control memorized, the share that the student has.

    The control is the student's network from the same start, trained without a teacher; memorized
    is what greedy decoding extracts (arXiv 2601.15394).
    """

    name: ClassVar[str] = "inherited-memorization"
    higher_is_better: ClassVar[bool] = False
    margin: ClassVar[float] = 5.0

    def available(self, record: Record) -> bool:
        if record.capability not in REACHES_TEACHER or not holds(record, ATTACK, EXTRACTED):
            return False
        teacher = role_of(SeedGroup((record,)), "source")
        return {teacher, "control"} <= set(record.result(ATTACK).columns)

    def __call__(self, group: SeedGroup, reference: SeedGroup | None = None) -> Estimate | None:
        return self.breakdown(group)["inherited"]

    def why_none(self, group: SeedGroup) -> str:
        return "none by the teacher alone"

    def breakdown(
        self, group: SeedGroup, reference: SeedGroup | None = None
    ) -> Mapping[str, Estimate | None]:
        """What teacher, control and student memorized, and what was ``inherited`` or ``easy``.

        Easy: of what the student memorized, what teacher and control have too.
        """
        totals: dict[str, tuple[int, int]] = {}
        for record in group.records:
            flags = [
                extracted_flags(record, role, "canaries")
                for role in (group.source, "control", "student")
            ]
            for name, (hits, count) in vars(dynamics(*flags)).items():
                earlier = totals.get(name, (0, 0))
                totals[name] = (earlier[0] + hits, earlier[1] + count)
        return {
            name: Estimate.share(hits, count) if count else None
            for name, (hits, count) in totals.items()
        }
