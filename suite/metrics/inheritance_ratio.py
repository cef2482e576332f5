"""Inheritance ratio: how much of a backdoor's effect on its source the student shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar

from robustbench_kd.core.estimates import Estimate
from robustbench_kd.core.seed import Seed
from robustbench_kd.metrics._base import Metric, Unit
from robustbench_kd.metrics._columns import first_attack
from robustbench_kd.metrics._inheritance import comparable, compared_models, excess, ratio, verdict
from robustbench_kd.results.groups import SeedGroup
from robustbench_kd.results.record import Record

if TYPE_CHECKING:
    from torch import Tensor

RESAMPLES = 2000


@dataclass(frozen=True)
class InheritanceRatio(Metric):
    """Success beyond the clean counterpart's, of the student over that of the source.

    The lowest seed stands for the group; trials of one victim each have no ratio.
    """

    name: ClassVar[str] = "inheritance-ratio"
    unit: ClassVar[Unit] = "ratio"
    digits: ClassVar[int] = 2
    higher_is_better: ClassVar[bool] = False
    margin: ClassVar[float] = 0.1

    def available(self, record: Record) -> bool:
        return comparable(record)

    def __call__(self, group: SeedGroup, reference: SeedGroup | None = None) -> Estimate | None:
        return None if group.pooled else resampled_ratio(group.first)

    def why_none(self, group: SeedGroup) -> str:
        """The verdict; or how many trials there are."""
        if group.pooled:
            trials = len(group.records)
            return f"{trials} trial" if trials == 1 else f"{trials} trials"
        word = verdict(group.first)
        if word == "inherited":
            return "too few inputs"
        return (
            f"dormant, excess {excess(group.first, 'student'):.2f}" if word == "dormant" else word
        )

    def breakdown(
        self, group: SeedGroup, reference: SeedGroup | None = None
    ) -> Mapping[str, Estimate | None]:
        """By seed."""
        if group.pooled:
            return {}
        return {f"seed {record.seed}": resampled_ratio(record) for record in group.records}


def resampled_ratio(record: Record) -> Estimate | None:
    """The ratio with its 95 % interval, by resampling the eligible inputs; None without a ratio.

    All four models are asked about the same resampled inputs, so what they share cancels. None also
    where the inputs are so few that in some resample the source learned nothing.
    """
    import torch

    value = ratio(record)
    if value is None:
        return None
    attack = first_attack(record)
    columns = [
        record.bits(attack, role, "attack_success").flags for role in compared_models(record)
    ]
    count = len(columns[0])
    success = torch.tensor(columns, dtype=torch.float64)
    student, student_clean, source, source_clean = success @ _resamples(count) / count
    learned = source - source_clean
    if float(learned.min()) <= 0:
        return None
    ratios = (student - student_clean) / learned
    low, high = ratios.quantile(learned.new_tensor([0.025, 0.975])).tolist()
    return Estimate(value, low, high, count)


@lru_cache(maxsize=8)  # the records of a leaderboard have the same number of inputs, or nearly so
def _resamples(count: int) -> Tensor:
    """How often each input is drawn in each resample, [count, RESAMPLES]; always the same."""
    import torch

    noise = (Seed() / "inheritance").generator()
    draws = torch.randint(count, (RESAMPLES, count), generator=noise)
    return torch.stack([torch.bincount(row, minlength=count) for row in draws], dim=1).double()
