"""A page before it is HTML, Markdown or LaTeX, and the records that it is about."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from robustbench_kd.core.config import Leaderboard
from robustbench_kd.core.estimates import Estimate
from robustbench_kd.metrics._base import Metric
from robustbench_kd.reports.columns import MetricColumn, estimate_text
from robustbench_kd.reports.leaderboard import Ranking, RankingRow, rank
from robustbench_kd.results.record import Json, Record
from robustbench_kd.results.store import record_name

T = TypeVar("T")


@dataclass(frozen=True)
class Entry:
    """A record and the file it came from; its evidence lies beside that."""

    path: Path
    record: Record


@dataclass(frozen=True)
class BoardRecords:
    """The records of one leaderboard, and what several sections compute from them.

    Attributes:
        pair: labels of the two rows that are compared; the best two unless given.
        row_pages: whether each row has a page of its own, which tables link to.
    """

    leaderboard: Leaderboard
    entries: tuple[Entry, ...]
    pair: tuple[str, str] | None = None
    row_pages: bool = False
    _computed: dict[Hashable, Any] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @cached_property
    def records(self) -> list[Record]:
        return [entry.record for entry in self.entries]

    @cached_property
    def ranking(self) -> Ranking:
        """The ranking of these records."""
        return rank(self.leaderboard, self.records)

    @cached_property
    def rows(self) -> list[RankingRow]:
        """The rows that figures show: those that are ranked, or else all."""
        return list(self.ranking.rows) or [row for row, _ in self.ranking.outside]

    @property
    def by_attack(self) -> bool:
        """Whether each attack poisons a training set of its own, so that rows are ranked by it."""
        return self.leaderboard.poisons and not self.leaderboard.joint

    @cached_property
    def _paths(self) -> dict[int, Path]:
        return {id(entry.record): entry.path for entry in self.entries}

    def path(self, record: Record) -> Path:
        """The file that a record came from."""
        return self._paths[id(record)]

    def href(self, row: RankingRow) -> str:
        """The page of a row, beside that of the leaderboard; empty where rows have none."""
        return f"{record_name(row.record)}.html" if self.row_pages else ""

    def computed(self, key: Hashable, compute: Callable[[], T]) -> T:
        """What several sections need, computed for the first that does."""
        if key not in self._computed:
            self._computed[key] = compute()
        value: T = self._computed[key]
        return value


@dataclass(frozen=True)
class Cell:
    """One field of a table: its text, what it sorts by, where it leads.

    Of an ``estimate`` the value stands out from its interval; a share is also drawn as a bar.
    """

    text: str
    key: float | str | None = None
    href: str = ""
    estimate: Estimate | None = None
    warns: bool = False


@dataclass(frozen=True)
class Table:
    """Heads and rows.

    Attributes:
        filters: heads of the columns that a reader may filter by.
        row_head: the place of the column that names the row.
    """

    caption: str
    heads: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    filters: tuple[str, ...] = ()
    row_head: int = 0


@dataclass(frozen=True)
class Figure:
    """A drawing as SVG, and its description for those who cannot see it."""

    title: str
    svg: bytes
    description: str


@dataclass(frozen=True)
class ImageStrip:
    """Labelled PNGs side by side, with a caption."""

    images: tuple[tuple[str, bytes], ...]
    caption: str


@dataclass(frozen=True)
class Block:
    """Content in the order in which it is read: strips by heading, commands to copy at the end."""

    paragraphs: tuple[str, ...] = ()
    figures: tuple[Figure, ...] = ()
    tables: tuple[Table, ...] = ()
    strips: Mapping[str, tuple[ImageStrip, ...]] = field(default_factory=dict)
    commands: tuple[str, ...] = ()


@dataclass(frozen=True)
class Section:
    """One part of a leaderboard's page; sections stand in ascending ``order``.

    ``build`` returns a sentence where the records cannot show what the section is about, and None
    where the leaderboard has nothing to do with it.
    """

    name: str
    title: str
    order: int
    build: Callable[[BoardRecords], Block | str | None]


@dataclass(frozen=True)
class RowSection:
    """One part of the page of a row; None where it does not apply to the row."""

    title: str
    order: int
    build: Callable[[BoardRecords, RankingRow], Block | None]


@dataclass(frozen=True)
class Page:
    """The page of a row: its file name without suffix, its title, its records, titled blocks."""

    slug: str
    title: str
    records: tuple[Record, ...]
    blocks: tuple[tuple[str, Block], ...]


def text_cell(
    text: object, key: float | str | None = None, href: str = "", warns: bool = False
) -> Cell:
    """A field that is not a number; it sorts by its text unless a key is given."""
    return Cell(str(text), key, href, warns=warns)


def number_cell(value: float, text: str | None = None) -> Cell:
    """A field that sorts as a number."""
    return Cell(f"{value:,}" if text is None else text, float(value))


def share_cell(share: Estimate | None) -> Cell:
    """A share in percent with its interval; empty where there is none."""
    return Cell("") if share is None else Cell(str(share), share.value, estimate=share)


def estimate_cell(metric: Metric, estimate: Estimate | None) -> Cell:
    """A value of a metric with its interval; empty where there is none."""
    value = None if estimate is None else estimate.value
    return Cell(estimate_text(metric, estimate), value, estimate=estimate)


def count_cell(estimate: Estimate | None) -> Cell:
    """How many samples a value rests on; empty where there is none."""
    return Cell("") if estimate is None else number_cell(estimate.count)


def metric_cell(row: RankingRow, column: MetricColumn) -> Cell:
    """The value of a row in a column, with its interval; or why there is none."""
    estimate = row.estimate(column)
    if estimate is None:
        return Cell(column.why_none(row.group))
    texts = (estimate_text(column.metric, estimate), column.metric.remark(row.group))
    return Cell(" ".join(filter(None, texts)), estimate.value, estimate=estimate)


def settings_text(settings: Json) -> str:
    """Settings as one reads them: ``rate=0.1, size=2``."""
    return ", ".join(f"{name}={value}" for name, value in sorted(settings.items())) or "none"
