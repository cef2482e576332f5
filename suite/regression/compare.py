"""Two records on the same examples, pair by pair. Needs no torch."""

from __future__ import annotations

from robustbench_kd.core.errors import NotComparable
from robustbench_kd.ops.statistics.bitset import discordant
from robustbench_kd.ops.statistics.paired_tests import Test
from robustbench_kd.regression.decision import Comparison as Comparison
from robustbench_kd.regression.decision import Rules, weigh
from robustbench_kd.regression.snapshot import Snapshot, snapshot
from robustbench_kd.results.record import Record


def compare(
    old: Record, new: Record, alpha: float = 0.05, margin: float = 0.02, test: Test = "midp"
) -> Comparison:
    """Is ``new`` less robust than ``old``, by more than chance, and by more than the margin?

    Training anew with another seed moves a network too: a verdict is about these two networks, not
    about their methods.

    Raises:
        NotComparable: where the two were asked different questions.
        BadSetting: for an impossible alpha, margin or test.
    """
    rules = Rules(alpha=alpha, margin=margin, test=test)
    before, after = snapshot(old), snapshot(new)
    expect_comparable(before, after)
    return weigh(*discordant(before.robust, after.robust), len(before.robust), margin, rules)


def expect_comparable(old: Snapshot, new: Snapshot) -> None:
    """Same examples, same ball, same attacks with the same settings.

    Raises:
        NotComparable: naming the first thing that differs.
    """
    shared = [name for name in old.columns if name in new.columns]
    others = [name for name in shared if old.columns[name].asks != new.columns[name].asks]
    pairs: dict[str, tuple[object, object]] = {
        "scenarios": (old.scenario, new.scenario),
        "boards": (old.board, new.board),
        "numbers of examples": (old.clean.count, new.clean.count),
        "examples": (old.ids, new.ids),
        "images": (old.examples, new.examples),
        "threats": (old.threat, new.threat),
        "panels": (tuple(old.columns), tuple(new.columns)),
        f"settings of attacks ({', '.join(others)})": (
            [old.columns[name].asks for name in others],
            [new.columns[name].asks for name in others],
        ),
    }
    for what, (one, other) in pairs.items():
        if one != other:
            raise NotComparable(
                f"the records of {old.label} and {new.label} cannot be compared pair by pair, "
                f"since they differ in their {what}: {_brief(one)} and {_brief(other)}"
            )


def _brief(value: object) -> str:
    if isinstance(value, tuple):
        return "(" + ", ".join(value) + ")"
    text = str(value)
    return text if len(text) <= 24 else text[:12] + "…"
