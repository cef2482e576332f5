"""Extraction rate: what a model continues word for word, taking the likeliest token each time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from robustbench_kd.metrics._extraction import Content, ExtractionMetric, extracted_flags
from robustbench_kd.results.record import Record


@dataclass(frozen=True)
class ExtractionRate(ExtractionMetric):
    """Share of the training content that comes out under greedy decoding."""

    name: ClassVar[str] = "extraction-rate"

    def flags(self, record: Record, role: str, content: Content) -> list[bool]:
        return extracted_flags(record, role, content)
