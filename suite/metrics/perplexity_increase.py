"""Perplexity increase: what a defense costs a language model, beside plain distillation."""

from __future__ import annotations

from dataclasses import dataclass
from math import expm1
from typing import ClassVar

from robustbench_kd.core.estimates import Estimate
from robustbench_kd.metrics._base import Metric
from robustbench_kd.metrics._intervals import normal_mean
from robustbench_kd.metrics._reference import common_records, why_no_comparison
from robustbench_kd.metrics._test_nll import nats_per_token
from robustbench_kd.metrics.perplexity import Perplexity
from robustbench_kd.results.groups import SeedGroup
from robustbench_kd.results.record import Column, Record


@dataclass(frozen=True)
class PerplexityIncrease(Metric):
    """The student's perplexity relative to the reference's, less one, paired by row of the text.

    Over the seeds that both have.
    """

    name: ClassVar[str] = "perplexity-increase"
    higher_is_better: ClassVar[bool] = False

    def available(self, record: Record) -> bool:
        return Perplexity().available(record)

    def __call__(self, group: SeedGroup, reference: SeedGroup | None = None) -> Estimate | None:
        records, others = common_records(group, reference)
        if not records:
            return None
        sides = (nats_per_token(side, "student") for side in (records, others))
        gap = normal_mean([a - b for a, b in zip(*sides, strict=True)])
        if gap is None:
            return None
        return Estimate(expm1(gap.value), expm1(gap.low), expm1(gap.high), gap.count)

    def why_none(self, group: SeedGroup) -> str:
        return why_no_comparison(group)

    def samples(self, record: Record) -> Column:
        """Nats a token of each row; what two students differ by is the increase, as a share."""
        return tuple(nats_per_token([record], "student"))
