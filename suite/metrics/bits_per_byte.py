"""Bits per byte of the test text: comparable between models with different tokenizers."""

from __future__ import annotations

from dataclasses import dataclass
from math import log
from typing import ClassVar

from robustbench_kd.core.estimates import Estimate
from robustbench_kd.metrics._base import Unit
from robustbench_kd.metrics._intervals import normal_mean, ratio_values
from robustbench_kd.metrics._test_nll import TextMetric, row_nats, text_rows
from robustbench_kd.results.groups import SeedGroup
from robustbench_kd.results.record import Column


@dataclass(frozen=True)
class BitsPerByte(TextMetric):
    """Bits that a model spends on each byte, over all seeds."""

    name: ClassVar[str] = "bits-per-byte"
    unit: ClassVar[Unit] = "bits"
    digits: ClassVar[int] = 3
    margin: ClassVar[float] = 0.01

    def value(self, group: SeedGroup, role: str) -> Estimate | None:
        return normal_mean(_values(group, role))

    def sample_values(self, group: SeedGroup, role: str) -> Column:
        """A value a row, whose mean is the bits a byte of the whole text."""
        return tuple(_values(group, role))


def _values(group: SeedGroup, role: str) -> list[float]:
    bits = [nats / log(2) for nats in row_nats(group.records, role)]
    return ratio_values(bits, text_rows(group.first)["bytes"])
