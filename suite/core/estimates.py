"""A number with its interval and the count it rests on. No number is printed without both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from robustbench_kd.ops.statistics.proportions import wilson


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval, and how many samples it rests on.

    ``hits`` is the number of samples counted, where the value is a share of ``count``.
    """

    value: float
    low: float
    high: float
    count: int
    hits: int | None = None

    @classmethod
    def share(cls, hits: int, count: int) -> Estimate:
        """A share of a count, with Wilson's interval.

        Raises:
            ValueError: where nothing was counted.
        """
        low, high = wilson(hits, count)
        return cls(hits / count, low, high, count, hits)

    @property
    def interval(self) -> tuple[float, float]:
        return self.low, self.high

    def json(self) -> dict[str, Any]:
        """Its fields; ``hits`` only where it is a share."""
        fields = {"value": self.value, "low": self.low, "high": self.high, "count": self.count}
        return fields if self.hits is None else {**fields, "hits": self.hits}

    def __str__(self) -> str:
        """In percent: ``0.0 [0.0, 0.8]``."""
        return f"{100 * self.value:.1f} [{100 * self.low:.1f}, {100 * self.high:.1f}]"
