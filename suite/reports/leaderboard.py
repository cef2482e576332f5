"""A leaderboard, folded from records: who enters, who stands for whom, who ranks where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from robustbench_kd.core.config import Leaderboard
from robustbench_kd.metrics.rank_intervals import standing
from robustbench_kd.metrics.robustness import Best, best_known, question
from robustbench_kd.reports.filters import Wanted, chosen
from robustbench_kd.results.record import Record, Share, worst_case

ALL = Wanted()


@dataclass(frozen=True)
class Row:
    """One defense: the record of its lowest seed, those of its other seeds, and its rank.

    ``best`` and ``last`` bound the rank: rows that a paired test cannot tell apart share ranks.
    ``known`` joins all records of the row's network, where there are several.
    """

    record: Record
    label: str
    yours: bool = False
    others: tuple[Record, ...] = ()
    best: int = 0
    last: int = 0
    known: Best | None = None

    @property
    def rank(self) -> str:
        """``2-4``, or ``3`` where only one place is possible."""
        return str(self.best) if self.best == self.last else f"{self.best}-{self.last}"

    @property
    def seeds(self) -> tuple[tuple[int, Share], ...]:
        """The robust accuracy of every seed."""
        return tuple((r.seed, r.worst) for r in (self.record, *self.others))

    @property
    def wide(self) -> Share | None:
        """The worst case over the cheap attacks on the whole test set, where it was asked."""
        if not self.record.wide:
            return None
        flags = worst_case(self.record.wide)
        return Share(sum(flags), len(flags))

    @property
    def passes(self) -> tuple[int, int]:
        """Forward and backward passes that all attacks of the panel spent."""
        cells = self.record.cells
        return sum(c.forward for c in cells), sum(c.backward for c in cells)


@dataclass(frozen=True)
class Board:
    """The rows in order, those with doubts last; and the records that stay out, with the reason.

    ``only`` says in words which records were asked for, where not all were.
    """

    contest: Leaderboard
    rows: tuple[Row, ...]
    outside: tuple[tuple[Row, str], ...]
    only: str = ""

    def row_of(self, record: Record) -> Row | None:
        """The row that this record stands in."""
        claim = record.claim
        for row in self.rows:
            if claim in (kept.claim for kept in (row.record, *row.others)):
                return row
        return None


def fold(
    contest: Leaderboard,
    committed: Sequence[Record],
    yours: Sequence[Record] = (),
    wanted: Wanted = ALL,
) -> Board:
    """The board of these records; of a student that is in both, only the committed row stays.

    Best-known shares join all records, also those that are not ``wanted``.

    Raises:
        NothingEvaluated: where there are records, and none is wanted.
    """
    known = best_known((*committed, *yours))
    kept = {id(record) for record in chosen((*committed, *yours), wanted, contest.name)}
    committed = [record for record in committed if id(record) in kept]
    yours = [record for record in yours if id(record) in kept]
    board = _fold(contest, committed, yours)
    rows = tuple(replace(row, known=known.get(question(row.record))) for row in board.rows)
    return replace(board, rows=rows if known else board.rows, only=str(wanted))


def _fold(contest: Leaderboard, committed: Sequence[Record], yours: Sequence[Record]) -> Board:
    known = {_student(record) for record in committed}
    fresh = _once([record for record in yours if _student(record) not in known])
    like = next((r for r in (*committed, *fresh) if _bar(contest, r, None) is None), None)
    taught = {weights for record in committed for weights in record.teachers.values()}
    rows: list[Row] = []
    outside: list[tuple[Row, str]] = []
    for records, mine in ((_once(committed), False), (fresh, True)):
        entering = []
        for record in records:
            reason = _bar(contest, record, like)
            if not mine and record.model.get("yours") and record.model["weights"] in taught:
                reason = "the teacher of students here, and none itself"
            if reason is None:
                entering.append(record)
            else:
                outside.append((Row(record, record.label, mine), reason))
        rows += _stand(entering, mine)
    return Board(contest, _ranked(rows), tuple(outside))


def fold_with(contest: Leaderboard, committed: Sequence[Record], entrant: Record) -> Board:
    """The board with one more record; it takes the place of a committed one of its student."""
    student = _student(entrant)
    if any(_student(record) == student for record in committed):
        return fold(contest, [entrant if _student(r) == student else r for r in committed])
    return fold(contest, committed, [entrant])


def _student(record: Record) -> tuple[object, ...]:
    """What tells two records apart that a board may hold side by side."""
    ball = record.threat["norm"], record.threat["eps"]
    attacks = tuple(cell.attack for cell in record.cells)
    return record.label, record.model["weights"], record.seed, record.limit, ball, attacks


def _once(records: Sequence[Record]) -> list[Record]:
    return list({_student(record): record for record in records}.values())


def _bar(contest: Leaderboard, record: Record, like: Record | None) -> str | None:
    """Why a record does not enter; none where it does. ``like`` is one that did."""
    if record.board != contest.name:
        return f"made for the board {record.board}"
    if record.limit is not None:
        return f"a reduced run: the first {record.limit} images only"
    if tuple(cell.attack for cell in record.cells) != contest.panel:
        panel = ", ".join(cell.attack for cell in record.cells)
        return f"another panel of attacks: {panel}"
    if (record.threat["norm"], record.threat["eps"]) != (
        contest.budget.kind,
        contest.budget.amount,
    ):
        return f"another ball: {record.threat['norm']} {record.threat['eps']:g}"
    if bool(record.defense.get("told", False)) != contest.told:
        return "told the secret" if not contest.told else "not told the secret"
    if like is not None and _asked(record) != _asked(like):
        return "other images, or other settings of the attacks"
    return None


def _asked(record: Record) -> tuple[str, str, list[str]]:
    settings = [str(sorted(cell.settings.items())) for cell in record.cells]
    return record.data["ids"], record.data["examples"], settings


def _stand(records: Sequence[Record], mine: bool) -> list[Row]:
    """One row a defense; another network of the same name and seed gets a row of its own."""
    groups: dict[tuple[str, str], list[Record]] = {}
    for record in sorted(records, key=lambda r: r.seed):
        mark = ""
        if any(r.seed == record.seed for r in groups.get((record.label, mark), ())):
            mark = record.model["weights"][:6]
        groups.setdefault((record.label, mark), []).append(record)
    return [
        Row(first, f"{label} #{mark}" if mark else label, mine, tuple(rest))
        for (label, mark), (first, *rest) in groups.items()
    ]


def _ranked(rows: Sequence[Row]) -> tuple[Row, ...]:
    """Rows with doubts below the others; within each half a rank by paired tests."""
    done: list[Row] = []
    for doubtful in (False, True):
        half = [row for row in rows if bool(row.record.doubts) == doubtful]
        half.sort(key=lambda r: (-r.record.worst.hits, -r.record.clean.hits, r.label))
        places = standing([row.record.robust for row in half])
        done += [
            replace(row, best=len(done) + best, last=len(done) + last)
            for row, (best, last) in zip(half, places, strict=True)
        ]
    return tuple(done)
