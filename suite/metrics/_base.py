"""What every metric is: a pure function of a group of records, with the interval of its value."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from robustbench_kd.core.estimates import Estimate
from robustbench_kd.results.groups import SeedGroup
from robustbench_kd.results.record import Column, Record

Unit = Literal["percent", "bits", "nats", "ratio", "perplexity", "distance", "count", "auc", "p"]


@dataclass(frozen=True)
class Metric(ABC):
    """One column of a table. A new metric is a file in ``metrics/`` named after it.

    ``unit`` says how values are printed (percent are shares in [0, 1], printed times 100),
    ``digits`` with how many decimals. ``margin`` is the loss that a gate tolerates unless
    another is given, in the printed unit. ``per_attack`` metrics get a column for each attack.
    """

    name: ClassVar[str] = ""
    unit: ClassVar[Unit] = "percent"
    digits: ClassVar[int] = 1
    higher_is_better: ClassVar[bool] = True
    margin: ClassVar[float] = 2.0
    per_attack: ClassVar[bool] = False

    @property
    def heading(self) -> str:
        """Head of its column, in plain words."""
        return self.name.replace("-", " ")

    @abstractmethod
    def available(self, record: Record) -> bool:
        """Whether a record holds the columns that this metric needs."""

    @abstractmethod
    def __call__(self, group: SeedGroup, reference: SeedGroup | None = None) -> Estimate | None:
        """The value for a group of records.

        Args:
            group: records that differ in the seed alone, each of them ``available``.
            reference: plain distillation in the same setting, for metrics that compare.

        Returns:
            None where there is no such value; ``why_none`` says why.
        """

    def why_none(self, group: SeedGroup) -> str:
        """In a word, why the metric has no value for this group."""
        return ""

    def remark(self, group: SeedGroup) -> str:
        """What stands behind the value in a cell (the method that was best, say)."""
        return ""

    def samples(self, record: Record) -> Column | None:
        """A value a sample, by which two students are compared in pairs; None where there is none.

        Bits are set, and numbers higher, where the sample speaks for the metric's value being high.
        """
        return None

    def breakdown(
        self, group: SeedGroup, reference: SeedGroup | None = None
    ) -> Mapping[str, Estimate | None]:
        """The same metric by model, format or repetitions, for machines: name -> value."""
        return {}
