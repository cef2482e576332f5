"""The page of one student: every attack and what it spent, the other rows, pictures, checks."""

from __future__ import annotations

from robustbench_kd.reports.document import Block, Cell, Facts, Table, listed, number, shown, word
from robustbench_kd.reports.document import Row as Page
from robustbench_kd.reports.leaderboard import Row
from robustbench_kd.reports.sections.adversarial_examples import broken, shelf
from robustbench_kd.reports.sections.attack_breakdown import alone
from robustbench_kd.reports.sections.pairwise import HEADS, NOTE, paired
from robustbench_kd.reports.sections.per_class import table as split
from robustbench_kd.reports.sections.provenance import sources
from robustbench_kd.reports.sections.ranking import board_in
from robustbench_kd.reports.sections.sanity_checks import table as health
from robustbench_kd.results.record import Record, Share
from robustbench_kd.results.store import record_name

SIZES = (4, 4)  # pictures: drawn, and moved least


def pages(facts: Facts) -> list[Page]:
    """A page for every row, ranked or not."""
    board = board_in(facts)
    if board is None:
        return []
    ranked = [_page(facts, row, list(board.rows), "") for row in board.rows]
    return ranked + [_page(facts, row, [], reason) for row, reason in board.outside]


def _page(facts: Facts, row: Row, rows: list[Row], reason: str) -> Page:
    place = f"not ranked: {reason}" if reason else f"rank {row.rank} of {len(rows)}"
    blocks = [("Summary", _summary(row, place)), ("Every attack", attacks(row.record))]
    if by_class := split(facts, row.record):
        blocks.append(("Every class", Block(tables=(by_class,))))
    others = [other for other in rows if other is not row]
    if others:
        blocks.append(("Beside the other rows", _beside(facts, row, others)))
    pictures = broken(facts, row.record, SIZES)
    if pictures:
        blocks.append(("Adversarial gallery", shelf(pictures, row.label)))
    records = (row.record, *row.others)
    blocks += [("Health checks", health([row])), ("Provenance", sources(facts, records))]
    return Page(record_name(row.record), row.label, records, tuple(blocks))


def _summary(row: Row, place: str) -> Block:
    record = row.record
    lines = [(word(f"robust, seed {seed}"), shown(s), number(s.count)) for seed, s in row.seeds]
    lines.insert(0, (word("clean"), shown(record.clean), number(record.clean.count)))
    if row.wide:
        lines.append((word("robust, wide"), shown(row.wide), number(row.wide.count)))
    words = (
        f"{place}; {record.model['net']}, {record.model['parameters']:,} parameters, "
        f"{record.model['macs']:,} multiply-accumulates; teachers: "
        f"{', '.join(sorted(record.teachers)) or 'none'}; doubts: "
        f"{'; '.join(record.doubts) or 'none'}."
    )
    return Block(
        words=(words,), tables=(Table("In short", ("what", "share", "examples"), tuple(lines)),)
    )


def attacks(record: Record) -> Block:
    """Every attack of the panel: what is left, what only it breaks, what it spent."""
    only, right = alone(record), record.cells[0].right
    lines = []
    for n, cell in enumerate(record.cells):
        unique = Share(only[n], right) if n and right else None
        spent = (number(cell.forward), number(cell.backward))
        line = (word(cell.attack), shown(cell.share), shown(unique), *spent, number(cell.count))
        lines.append((*line, word(listed(cell.settings)), word("; ".join(cell.doubts) or "none")))
    worst = (word("worst case"), shown(record.worst), word(""), word(""), word(""))
    lines.append((*worst, number(record.worst.count), word(""), word("")))
    heads = ("attack", "answered right", "broken by it alone", "forward", "backward", "examples")
    return Block(tables=(Table("Every attack", (*heads, "settings", "doubts"), tuple(lines)),))


def _beside(facts: Facts, row: Row, others: list[Row]) -> Block:
    lines: tuple[tuple[Cell, ...], ...] = tuple(
        (
            word(other.label, href=facts.links.get(other.record.id, "")),
            *paired(row.record.flags, other.record.flags),
        )
        for other in others
    )
    caption = f"{row.label} (first) beside every other row (second), under the whole panel"
    return Block(words=(NOTE,), tables=(Table(caption, ("second", *HEADS), lines),))


ROWS = (pages,)
