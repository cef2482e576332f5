"""Canaries as records hold them, over all seeds, and what their metrics have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import log2
from typing import ClassVar, NamedTuple

from robustbench_kd.core.estimates import Estimate
from robustbench_kd.metrics._base import Unit
from robustbench_kd.metrics._model import ModelMetric
from robustbench_kd.results.groups import SeedGroup
from robustbench_kd.results.record import Record

ATTACK = "canary-exposure"
ALL, ALL_BUT = "all", "all but "


class Canary(NamedTuple):
    """A canary, and the rank that a model gives its secret among all candidates (1: likeliest)."""

    format: str
    repetitions: int
    rank: float
    candidates: int

    @property
    def exposure(self) -> float:
        """In bits (Carlini et al. 2019)."""
        return log2(self.candidates) - log2(self.rank)


def has_format(canary_format: str, selection: str) -> bool:
    """Whether a format is selected: by its name, by ``all`` (or nothing), or ``all but`` another.

    ``all but digits`` are all other formats.
    """
    if selection.startswith(ALL_BUT):
        return canary_format != selection.removeprefix(ALL_BUT)
    return selection in ("", ALL, canary_format)


def canaries_of(
    records: Iterable[Record], role: str, selection: str = "", repetitions: int | None = None
) -> list[Canary]:
    """The canaries of these records, one record's behind the other's.

    Args:
        role: the model that ranks them.
        selection: of formats, see ``has_format``.
        repetitions: how many times they were inserted; None for once or more.
    """
    return [
        canary
        for record in records
        for canary in _canaries(record, role)
        if has_format(canary.format, selection)
        and (canary.repetitions > 0 if repetitions is None else canary.repetitions == repetitions)
    ]


def _canaries(record: Record, role: str) -> Iterable[Canary]:
    samples = record.result(ATTACK).samples
    ranks = record.numbers(ATTACK, role, "rank")
    candidates = map(int, record.numbers(ATTACK, role, "candidates"))
    return map(Canary, samples["format"], samples["repetitions"], ranks, candidates)


def formats_of(record: Record) -> list[str]:
    """The formats of inserted canaries, in their order."""
    samples = record.result(ATTACK).samples
    pairs = zip(samples["format"], samples["repetitions"], strict=True)
    return list(dict.fromkeys(name for name, repetitions in pairs if repetitions))


def levels_of(record: Record) -> list[int]:
    """How many times canaries were inserted, from zero upwards."""
    return sorted(set(record.result(ATTACK).samples["repetitions"]))


@dataclass(frozen=True)
class CanaryMetric(ModelMetric):
    """A statistic of how one model ranks canaries, pooled over all seeds.

    Args:
        model: whose ranks: ``student``, ``control``, ``teacher-ROLE``, ``source``.
        format: of the canaries: ``digits``, ``all`` (or nothing), ``all but digits``.
        repetitions: how many times they were inserted; none: once or more.
    """

    attack: ClassVar[str] = ATTACK
    column: ClassVar[str] = "rank"
    unit: ClassVar[Unit] = "bits"

    format: str = ""
    repetitions: int | None = None

    @property
    def details(self) -> tuple[str, ...]:
        level = "" if self.repetitions is None else f"repetitions={self.repetitions}"
        return tuple(filter(None, (self.format, level)))

    @abstractmethod
    def estimate(self, canaries: Sequence[Canary]) -> Estimate:
        """The statistic of these canaries, of which there is one at least."""

    def value(self, group: SeedGroup, role: str) -> Estimate | None:
        return self.selected(group, role, self.format, self.repetitions)

    def selected(
        self, group: SeedGroup, role: str, selection: str = "", repetitions: int | None = None
    ) -> Estimate | None:
        """The statistic of a selection of canaries; None where there are none."""
        canaries = canaries_of(group.records, role, selection, repetitions)
        return self.estimate(canaries) if canaries else None

    def own_canaries(self, group: SeedGroup, role: str) -> list[Canary]:
        """The canaries that the settings select."""
        return canaries_of(group.records, role, self.format, self.repetitions)

    def breakdown(
        self, group: SeedGroup, reference: SeedGroup | None = None
    ) -> Mapping[str, Estimate | None]:
        """By model, by model and format, and by model and repetitions, whatever the settings."""
        values: dict[str, Estimate | None] = {}
        for role in self.roles(group):
            values[role] = self.selected(group, role)
            for name in formats_of(group.first):
                values[f"{role}/{name}"] = self.selected(group, role, name)
            for level in levels_of(group.first):
                key = f"{role}/repetitions={level}"
                values[key] = self.selected(group, role, repetitions=level)
        return values
