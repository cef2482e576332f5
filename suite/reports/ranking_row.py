"""One row of a ranking, and its values, which are computed when they are asked for."""

from __future__ import annotations

from dataclasses import dataclass, field

from robustbench_kd.core.errors import UnknownName
from robustbench_kd.core.estimates import Estimate
from robustbench_kd.metrics._best_known import BestKnown
from robustbench_kd.metrics.robust_accuracy import full_test_accuracy
from robustbench_kd.reports.columns import MetricColumn
from robustbench_kd.results.groups import SeedGroup
from robustbench_kd.results.record import Record

Values = dict[str, Estimate | None]


@dataclass(frozen=True)
class RankingRow:
    """One defense (under one attack on training data), and its place.

    Attributes:
        group: its records, one a seed.
        columns: the metrics that it can be asked for.
        reference: plain distillation in the same setting, for metrics that compare.
        local: made on this machine, so that nobody else has seen it.
        best: the best rank that paired tests allow, from 1 on; 0 where it is not ranked.
        last: the last such rank.
        best_known: what survives all records of its network, where there are several.
    """

    group: SeedGroup
    columns: tuple[MetricColumn, ...]
    reference: SeedGroup | None = None
    local: bool = False
    best: int = 0
    last: int = 0
    best_known: BestKnown | None = None
    _values: Values = field(default_factory=dict, repr=False, compare=False)

    @property
    def record(self) -> Record:
        """The record of the lowest seed."""
        return self.group.first

    @property
    def label(self) -> str:
        """The defense as typed."""
        return self.group.label

    @property
    def attack(self) -> str:
        """The attack on training data; empty for attacks on test data."""
        return self.group.attack

    @property
    def rank(self) -> str:
        """``2-4``, or ``3`` where only one place is possible; empty where it is not ranked."""
        if not self.best:
            return ""
        return str(self.best) if self.best == self.last else f"{self.best}-{self.last}"

    @property
    def warnings(self) -> list[str]:
        """Why the row may claim more than it has, over all its seeds."""
        return list(dict.fromkeys(text for r in self.group.records for text in r.warnings))

    @property
    def full_test(self) -> Estimate | None:
        """Robust accuracy under the cheap attacks on the whole test set, where they were run."""
        return full_test_accuracy(self.record)

    @property
    def passes(self) -> dict[str, int]:
        """Forward and backward passes that all attacks spent; empty where nobody counted."""
        spent: dict[str, int] = {}
        for result in self.record.attacks.values():
            for name, count in result.passes.items():
                spent[name] = spent.get(name, 0) + count
        return spent

    def column(self, typed: str) -> MetricColumn:
        """A column of this row by its metric as typed.

        Raises:
            UnknownName: where it has none.
        """
        for column in self.columns:
            if column.typed == typed:
                return column
        raise UnknownName("metric", typed, [column.typed for column in self.columns])

    def value(self, typed: str) -> Estimate | None:
        """The value in a column by its metric as typed; None where there is none."""
        return self.estimate(self.column(typed))

    def estimate(self, column: MetricColumn) -> Estimate | None:
        """The value of any metric, computed when first asked for; None where there is none."""
        if column.typed not in self._values:
            available = column.available(self.group)
            value = column.metric(self.group, self.reference) if available else None
            self._values[column.typed] = value
        return self._values[column.typed]

    def value_of_seed(self, typed: str, record: Record) -> Estimate | None:
        """The value that one of its records has alone."""
        if len(self.group.records) == 1:
            return self.value(typed)
        return self.column(typed).metric(SeedGroup((record,)), self.reference)
