"""Two records on the same samples, compared in pairs. Needs no torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from robustbench_kd.core.errors import NotComparable
from robustbench_kd.ops.statistics.bitset import discordant
from robustbench_kd.ops.statistics.paired_tests import Test
from robustbench_kd.regression.decision import Comparison as Comparison
from robustbench_kd.regression.decision import Rules
from robustbench_kd.regression.paired_comparison import compare_bits, compare_numbers
from robustbench_kd.regression.snapshot import Snapshot, snapshot
from robustbench_kd.results.record import Bits, Record
from robustbench_kd.results.store import read_record


def compare(
    old: Record | Path | str,
    new: Record | Path | str,
    alpha: float = 0.05,
    margin: float | None = None,
    test: Test = "midp",
) -> Comparison:
    """Is ``new`` worse than ``old``, by more than chance, and by more than the margin?

    The endpoint is the metric that the leaderboard ranks by: robust accuracy, attack success,
    exposure. Training with another seed changes a network too: a verdict is about these two
    networks, not about their methods.

    Args:
        old: a record, or the path of one.
        new: another one of the same leaderboard, attacks and samples.
        alpha: level of the one-sided test.
        margin: the tolerated loss in the unit of the metric (2 is two points of a share); None for
            the metric's own.
        test: of bits, ``midp`` or ``exact``.

    Raises:
        NotComparable: where the two were evaluated on different samples or under other attacks.
        BadSetting: for an impossible alpha, margin or test.
        BadRecord: where a file holds no record.
    """
    rules = Rules(alpha=alpha, margin=margin, test=test)
    records = (side if isinstance(side, Record) else read_record(Path(side)) for side in (old, new))
    before, after = (snapshot(record) for record in records)
    expect_comparable(before, after)
    tolerated = rules.margin_of(after.primary)
    if isinstance(before.primary.values, Bits):
        counts = discordant(before.primary.favourable, after.primary.favourable)
        return compare_bits(*counts, before.primary.count, tolerated, rules)
    losses = before.primary.losses(after.primary)
    return compare_numbers(losses, tolerated, rules, bound=after.primary.bound)


def expect_comparable(old: Snapshot, new: Snapshot) -> None:
    """Same samples, same threat, same attacks with the same settings.

    Raises:
        NotComparable: naming the first thing that differs.
    """
    parts: dict[str, tuple[object, object]] = {
        "scenarios": (old.scenario, new.scenario),
        "leaderboards": (old.board, new.board),
        "attacks": (old.attack, new.attack),
        "numbers of samples": _each(old, new, "count"),
        "sample ids": (old.ids, new.ids),
        "test data": (old.examples, new.examples),
        "threats": (old.threat, new.threat),
        "endpoints": (tuple(old.endpoints), tuple(new.endpoints)),
        "settings or samples of attacks": _each(old, new, "settings"),
        "kinds of values": _each(old, new, "kind"),
        "units": _each(old, new, "unit"),
        "directions": _each(old, new, "higher_is_better"),
    }
    for part, (before, after) in parts.items():
        if before != after:
            raise NotComparable(
                f"the records of {old.label} and {new.label} cannot be compared sample by sample, "
                f"since they differ in their {part}: {_short(before)} and {_short(after)}"
            )


def _each(old: Snapshot, new: Snapshot, field: str) -> tuple[object, object]:
    """A field of the endpoints that both sides have, where they differ in it."""
    differing = [
        name
        for name in old.endpoints
        if name in new.endpoints
        and getattr(old.endpoints[name], field) != getattr(new.endpoints[name], field)
    ]
    before, after = (
        {name: getattr(side.endpoints[name], field) for name in differing} for side in (old, new)
    )
    return before, after


def _short(value: object) -> str:
    if isinstance(value, tuple):
        return "(" + ", ".join(value) + ")"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {part}" for name, part in value.items())
    text = str(value)
    return text if len(text) <= 24 else text[:12] + "…"
