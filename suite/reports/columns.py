"""The columns of a leaderboard: its metrics as typed, and their values as people read them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from robustbench_kd.core.config import Leaderboard
from robustbench_kd.core.errors import BadSetting, UnknownName
from robustbench_kd.core.estimates import Estimate
from robustbench_kd.core.registry import configured
from robustbench_kd.metrics._base import Metric
from robustbench_kd.results.groups import SeedGroup
from robustbench_kd.results.record import CLEAN

NO_INTERVAL = ("p", "nats", "distance")
"""Units of p-values, of bounds that hold by themselves, and of distances of whole sets."""


@dataclass(frozen=True)
class MetricColumn:
    """A metric, and how it is typed: ``attack-success:model=control``."""

    typed: str
    metric: Metric

    @property
    def attack(self) -> str:
        """The one attack that it is about, as typed; empty where it is about all of a row's."""
        return str(getattr(self.metric, "attack", "")) if self.metric.per_attack else ""

    def available(self, group: SeedGroup) -> bool:
        """Whether every record of a group holds what the metric needs."""
        return all(self.metric.available(record) for record in group.records)

    def why_none(self, group: SeedGroup) -> str:
        """In a word, why a group has no value in this column."""
        return self.metric.why_none(group) if self.available(group) else "not measured"


def columns_of(leaderboard: Leaderboard, attacks: Sequence[str] = ()) -> tuple[MetricColumn, ...]:
    """The columns of a leaderboard, in its order.

    Metrics of single attacks get a column for each, where all rows are tried on the same ones.

    Args:
        attacks: in place of the leaderboard's own.

    Raises:
        BadSetting: for a metric that there is not, with the nearest one, or for settings that do
            not fit it.
    """
    return _columns(leaderboard.name, leaderboard.metrics, _panel(leaderboard, attacks))


def _panel(leaderboard: Leaderboard, attacks: Sequence[str]) -> tuple[str, ...]:
    shared = not leaderboard.poisons or leaderboard.joint
    return tuple(label for label in attacks or leaderboard.attacks if shared and label != CLEAN)


@lru_cache(maxsize=64)
def _columns(
    board: str, metrics: tuple[str, ...], attacks: tuple[str, ...]
) -> tuple[MetricColumn, ...]:
    columns: list[MetricColumn] = []
    for typed in metrics:
        try:
            metric: Any = configured("metrics", typed)
        except (UnknownName, BadSetting) as why:
            raise BadSetting(f"leaderboard {board}: {why}") from why
        if attacks and metric.per_attack and not metric.attack:
            sign = "," if ":" in typed else ":"
            columns += [
                MetricColumn(f"{typed}{sign}attack={label}", replace(metric, attack=label))
                for label in attacks
            ]
        else:
            columns.append(MetricColumn(typed, metric))
    return tuple(columns)


def estimate_text(metric: Metric, estimate: Estimate | None) -> str:
    """A value with its interval, as its unit is printed: ``61.2 [58.1, 64.2]``; empty for none.

    Values of the units ``NO_INTERVAL`` may have none: then their ends are the value itself.
    """
    if estimate is None:
        return ""
    scale = 100 if metric.unit == "percent" else 1
    value, low, high = (
        f"{scale * number:z.{metric.digits}f}"
        for number in (estimate.value, estimate.low, estimate.high)
    )
    alone = metric.unit in NO_INTERVAL and estimate.low == estimate.high
    return value if alone else f"{value} [{low}, {high}]"


def legend(columns: Sequence[MetricColumn]) -> list[str]:
    """What each metric is and how it is printed, once each: ``exposure: Mean ... (in bits).``"""
    sentences: dict[str, str] = {}
    for column in columns:
        metric = column.metric
        text = (type(metric).__doc__ or "").strip().partition("\n\n")[0]
        text = " ".join(text.split()).rstrip(".")
        unit = "percent" if metric.unit == "percent" else metric.unit
        sentences[metric.name] = f"{metric.name.replace('-', ' ')} ({unit}): {text}."
    return list(sentences.values())
