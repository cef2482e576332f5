"""An endpoint of a gate: a bit or a number a sample, which is better high or low. No torch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import fsum
from typing import Literal

from robustbench_kd.core.estimates import Estimate
from robustbench_kd.ops.statistics.weighted_means import mean_interval
from robustbench_kd.results.record import Bits, Column

Role = Literal["primary", "utility", "attack"]


@dataclass(frozen=True)
class Endpoint:
    """One value a sample, which is better high or low.

    Attributes:
        role: ``primary`` (the metric that the leaderboard ranks by), ``utility`` (clean accuracy,
            or the loss on clean data) or ``attack`` (one attack of a panel).
        metric: as typed on the leaderboard.
        settings: digest of the attacks' settings and of the samples they were run on.
        unit: of the values; shares are printed in percent.
        margin: the loss that a gate tolerates by default, as printed.
    """

    role: Role
    metric: str
    settings: str
    values: Column
    unit: str
    higher_is_better: bool
    margin: float

    @property
    def count(self) -> int:
        return self.values.count if isinstance(self.values, Bits) else len(self.values)

    @property
    def kind(self) -> str:
        """Whether a value is a bit or a number."""
        return "bits" if isinstance(self.values, Bits) else "numbers"

    @property
    def scale(self) -> int:
        """What values are multiplied by to be printed."""
        return 100 if self.unit == "percent" else 1

    @property
    def bound(self) -> float | None:
        """The largest possible difference of two values; None where it is not known."""
        return 1.0 if self.unit == "percent" else None

    @property
    def estimate(self) -> Estimate:
        """The share of ones, or the mean."""
        if isinstance(self.values, Bits):
            return self.values.share
        ends = (0.0, 1.0) if self.unit == "percent" else (None, None)
        mean = fsum(self.values) / self.count
        return Estimate(mean, *mean_interval(self.values, *ends), self.count)

    @property
    def favourable(self) -> list[bool]:
        """Bits as the defender wishes them: set where the sample went well."""
        assert isinstance(self.values, Bits)
        return [flag == self.higher_is_better for flag in self.values.flags]

    def losses(self, new: Endpoint) -> tuple[float, ...]:
        """By how much each sample is worse in another snapshot; a gain is negative."""
        assert not isinstance(self.values, Bits)
        assert not isinstance(new.values, Bits)
        sign = 1 if self.higher_is_better else -1
        pairs = zip(self.values, new.values, strict=True)
        return tuple(sign * (before - after) for before, after in pairs)

    def with_favourable(self, flags: list[bool]) -> Endpoint:
        """The same endpoint with other bits."""
        return replace(self, values=Bits.of([flag == self.higher_is_better for flag in flags]))

    def __str__(self) -> str:
        return in_unit(self.estimate, self.unit)


def in_unit(value: Estimate, unit: str) -> str:
    """A value with its interval, as printed: ``70.0 [67.1, 72.8]``, ``3.69 [2.81, 4.6] bits``."""
    if unit == "percent":
        return str(value)
    return f"{value.value:.3g} [{value.low:.3g}, {value.high:.3g}] {unit}"
