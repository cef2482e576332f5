"""What metrics share that compare a student with plain distillation in the same setting."""

from __future__ import annotations

from robustbench_kd.results.groups import SeedGroup, reference_of
from robustbench_kd.results.record import Record

Records = tuple[Record, ...]


def common_records(group: SeedGroup, reference: SeedGroup | None) -> tuple[Records, Records]:
    """The records of the seeds that both have, in the same order.

    Empty where there is no reference, or it is the group itself.
    """
    if reference is None or group.label == reference.label:
        return (), ()
    seeds = set(group.seeds) & set(reference.seeds)
    records, others = (
        tuple(record for record in side.records if record.seed in seeds)
        for side in (group, reference)
    )
    return records, others


def why_no_comparison(group: SeedGroup) -> str:
    """``reference`` where the group is plain distillation itself, which others compare with."""
    return "reference" if reference_of([group], group) is group else ""
