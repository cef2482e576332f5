"""Success against the poisoned share of the training data, where attacks differ in nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from robustbench_kd.core.estimates import Estimate
from robustbench_kd.metrics._columns import pooled_share
from robustbench_kd.results.groups import SeedGroup


class RatePoint(NamedTuple):
    """Attack success at one poisoning rate, a share of the training data."""

    rate: float
    source: Estimate
    student: Estimate


def poisoning_curves(groups: Sequence[SeedGroup]) -> dict[tuple[str, str], list[RatePoint]]:
    """Attack and defense -> points in order of the rate, where there are several rates.

    Attacks that differ in anything but the rate are different ones.
    """
    curves: dict[tuple[str, str], list[RatePoint]] = {}
    for group in groups:
        poison = group.first.poison
        success = [
            pooled_share(group, role, "attack_success") for role in (group.source, "student")
        ]
        point = RatePoint(poison["count"] / poison["train_size"], *success)
        curves.setdefault((without_rate(group.attack), group.label), []).append(point)
    return {
        pair: sorted(points, key=lambda point: point.rate)
        for pair, points in curves.items()
        if len({point.rate for point in points}) > 1
    }


def without_rate(attack: str) -> str:
    """An attack as typed, without its rate."""
    name, _, settings = attack.partition(":")
    parts = filter(None, settings.split(","))
    others = [part for part in parts if part.partition("=")[0].strip() != "rate"]
    return name + (":" + ",".join(others) if others else "")
