"""Is a row to be believed? What else was asked of each network, and what it showed."""

from __future__ import annotations

from collections.abc import Sequence

from robustbench_kd.evaluation.sanity_checks import STILL
from robustbench_kd.reports.document import Block, Cell, Facts, Section, Table, number, shown, word
from robustbench_kd.reports.leaderboard import Row
from robustbench_kd.reports.sections.ranking import rows_in
from robustbench_kd.results.record import Record, Share

HEADS = (
    "defense",
    "verdict",
    "doubts",
    "without gradient",
    "PGD",
    "PGD, rescaled",
    "Square",
    "asked",
    "strongest missed",
    "examples",
)
NOTE = (
    "Signs that a row claims more than it has. Without gradient: inputs at which the gradient is "
    f"exactly zero; from {100 * STILL:.0f} % on it counts as masked. Then what survives PGD, PGD "
    "on rescaled scores (more broken: masked gradients) and Square, a black-box attack (breaks "
    "what PGD does not: masked gradients). Strongest missed: examples that fall, though not to "
    "the last attack of the panel. A doubt puts the row below the others."
)


def checks(facts: Facts) -> Block | None:
    """A line a student."""
    rows = rows_in(facts)
    return table(rows) if rows else None


def table(rows: Sequence[Row]) -> Block:
    """The checks of these rows."""
    lines = tuple(_line(row.label, row.record) for row in rows)
    return Block(words=(NOTE,), tables=(Table("Health of the evaluation", HEADS, lines),))


def _line(label: str, record: Record) -> tuple[Cell, ...]:
    health, doubts = record.health, "; ".join(record.doubts)
    asked = int(health.get("asked", 0))
    still = round(float(health.get("still", 0)) * asked)
    counts = [still, *(int(health.get(name, 0)) for name in ("pgd", "pgd_rescaled", "square"))]
    missed = missed_by_last(record)
    return (
        word(label),
        word("doubtful" if doubts else "no sign" if asked else "not asked", warns=bool(doubts)),
        word(doubts or "none"),
        *(shown(Share(n, asked) if asked else None) for n in counts),
        number(asked),
        shown(Share(missed, len(record.flags))),
        number(len(record.flags)),
    )


def missed_by_last(record: Record) -> int:
    """Examples that some attack breaks and the last of the panel does not."""
    strongest = record.cells[-1].flags
    return sum(left and not robust for left, robust in zip(strongest, record.flags, strict=True))


SECTIONS = (Section("checks", "Health checks", 80, checks),)
