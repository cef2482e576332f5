"""What comes out word for word, as records hold it: canaries, and members of the audited text."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from robustbench_kd.core.estimates import Estimate
from robustbench_kd.metrics._model import ModelMetric
from robustbench_kd.results.groups import SeedGroup
from robustbench_kd.results.record import Bits, Column, Record

ATTACK = "extraction"
EXTRACTED = "extracted"
TEXT = "text"
Content = Literal["canaries", "text"]
CONTENTS: tuple[Content, ...] = ("canaries", "text")


def inserted_values(record: Record, role: str, column: str, content: Content) -> list[float]:
    """A column of what was in the training data: of inserted canaries, or of audited members."""
    samples = record.result(ATTACK).samples
    values = record.numbers(ATTACK, role, column)
    rows = zip(samples["format"], samples["repetitions"], values, strict=True)
    return [
        value
        for name, repetitions, value in rows
        if repetitions and (name == TEXT) == (content == TEXT)
    ]


def extracted_flags(record: Record, role: str, content: Content) -> list[bool]:
    """Whether each of them comes out of a model under greedy decoding, word for word."""
    return [value > 0 for value in inserted_values(record, role, EXTRACTED, content)]


@dataclass(frozen=True)
class ExtractionMetric(ModelMetric):
    """Share of the training content that can be had from a model, over all seeds.

    Args:
        model: whose answers: ``student``, ``control``, ``teacher-ROLE``, ``source``.
        content: inserted ``canaries``, or members of the audited ``text``.
    """

    attack: ClassVar[str] = ATTACK
    column: ClassVar[str] = EXTRACTED
    margin: ClassVar[float] = 5.0

    content: Content = "canaries"

    @property
    def details(self) -> tuple[str, ...]:
        return () if self.content == "canaries" else (self.content,)

    @abstractmethod
    def flags(self, record: Record, role: str, content: Content) -> list[bool]:
        """Whether each canary, or each piece of text, can be had."""

    def value(self, group: SeedGroup, role: str) -> Estimate | None:
        return self._share(group, role, self.content)

    def _share(self, group: SeedGroup, role: str, content: Content) -> Estimate | None:
        flags = [flag for record in group.records for flag in self.flags(record, role, content)]
        return Estimate.share(sum(flags), len(flags)) if flags else None

    def sample_values(self, group: SeedGroup, role: str) -> Column:
        return Bits.of(self.flags(group.first, role, self.content))

    def breakdown(
        self, group: SeedGroup, reference: SeedGroup | None = None
    ) -> Mapping[str, Estimate | None]:
        """By model and content."""
        return {
            f"{role}/{content}": self._share(group, role, content)
            for role in self.roles(group)
            for content in CONTENTS
        }
