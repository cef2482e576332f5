"""Discoverable extraction: what comes out of so many sampled continuations, even odds or better."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from robustbench_kd.core.errors import BadSetting
from robustbench_kd.metrics._extraction import Content, ExtractionMetric, inserted_values
from robustbench_kd.ops.privacy.exposure import discoverable
from robustbench_kd.results.record import Record


@dataclass(frozen=True)
class DiscoverableExtraction(ExtractionMetric):
    """Share of the training content that ``tries`` samples find with probability one half.

    It follows from the log-probability of each continuation (Hayes et al. 2024, arXiv 2410.19482).

    Args:
        tries: sampled continuations.
    """

    name: ClassVar[str] = "discoverable-extraction"

    tries: int = 1_000

    def __post_init__(self) -> None:
        if self.tries < 1:
            raise BadSetting(f"{self.name} needs one try at least, not tries={self.tries}")

    @property
    def details(self) -> tuple[str, ...]:
        return (*super().details, f"{self.tries:,} tries")

    def flags(self, record: Record, role: str, content: Content) -> list[bool]:
        """Rounding may leave a sure continuation just above a log-probability of zero."""
        return [
            discoverable([min(0.0, log_p)], self.tries)[0] == 1
            for log_p in inserted_values(record, role, "score", content)
        ]
