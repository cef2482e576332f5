"""Scores of membership as records hold them, and what their metrics have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

from robustbench_kd.core.estimates import Estimate
from robustbench_kd.metrics._model import ModelMetric, holds
from robustbench_kd.metrics._share import role_of
from robustbench_kd.results.groups import SeedGroup
from robustbench_kd.results.record import Column, Record

ATTACK = "membership-inference"
Method = Literal["", "loss", "zlib", "min_k", "min_k_plus_plus", "reference", "lira", "rmia"]
COLUMNS: Mapping[str, str] = {
    "loss": "score",
    "zlib": "score_zlib",
    "min_k": "score_min_k",
    "min_k_plus_plus": "score_min_k_plus_plus",
    "reference": "score_reference",
    "lira": "score_lira",
    "rmia": "score_rmia",
}
"""Method -> column; in each, higher means member."""


class Scores(NamedTuple):
    """Scores of samples that were in the training data, and of samples that were not."""

    members: list[float]
    others: list[float]


def scores_of(records: Sequence[Record], role: str, method: str) -> Scores:
    """The scores of all records, one behind the other."""
    scores = Scores([], [])
    for record in records:
        repetitions = record.result(ATTACK).samples["repetitions"]
        column = record.numbers(ATTACK, role, COLUMNS[method])
        for score, count in zip(column, repetitions, strict=True):
            (scores.members if count else scores.others).append(score)
    return scores


@dataclass(frozen=True)
class MembershipMetric(ModelMetric):
    """A statistic of how well scores tell members from others, all seeds together.

    Args:
        model: whose scores: ``student``, ``control``, ``teacher-ROLE``, ``source``.
        method: of scoring; none is the best one, which the remark names: the largest of several
            estimates, which flatters the adversary.
    """

    attack: ClassVar[str] = ATTACK
    column: ClassVar[str] = COLUMNS["loss"]

    method: Method = ""

    @property
    def details(self) -> tuple[str, ...]:
        return (self.method.replace("_", " "),) if self.method else ()

    @abstractmethod
    def estimate(self, scores: Scores) -> Estimate | None:
        """The statistic of these scores; None where there are too few."""

    @abstractmethod
    def member_values(self, scores: Scores) -> Column:
        """The part that each member has in the statistic, of scores that are not too few."""

    def available(self, record: Record) -> bool:
        return holds(record, ATTACK, COLUMNS[self.method or "loss"])

    def value(self, group: SeedGroup, role: str) -> Estimate | None:
        return self._by_method(group, role).get(self._method(group, role))

    def remark(self, group: SeedGroup) -> str:
        role = role_of(group, self.model)
        if self.method or role is None or role not in self.roles(group):
            return ""
        return self._method(group, role).replace("_", " ")

    def sample_values(self, group: SeedGroup, role: str) -> Column | None:
        method = self._method(group, role)
        if self._by_method(group, role).get(method) is None:
            return None
        return self.member_values(scores_of(group.records, role, method))

    def _method(self, group: SeedGroup, role: str) -> str:
        """The method of the settings, or the best one."""
        estimates = self._by_method(group, role)
        values = {method: e.value for method, e in estimates.items() if e is not None}
        return self.method or max(values, key=values.__getitem__, default="")

    def _by_method(self, group: SeedGroup, role: str) -> dict[str, Estimate | None]:
        held = group.first.result(ATTACK).columns[role]
        return {
            method: self.estimate(scores_of(group.records, role, method))
            for method, column in COLUMNS.items()
            if column in held
        }

    def breakdown(
        self, group: SeedGroup, reference: SeedGroup | None = None
    ) -> Mapping[str, Estimate | None]:
        """By model and method."""
        return {
            f"{role}/{method}": estimate
            for role in self.roles(group)
            for method, estimate in self._by_method(group, role).items()
        }
