"""What a section says, before it is a page, Markdown or LaTeX; and what it is said about."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

from robustbench_kd.core.config import Leaderboard
from robustbench_kd.results.record import Json, Share

T = TypeVar("T")
Key = float | str


class Kept(Protocol):
    """A record of any kind, as far as every page needs it."""

    @property
    def board(self) -> str:
        """The leaderboard that it was made for."""
        ...

    def json(self) -> Json:
        """All of it as plain values, its own digest included."""
        ...


@dataclass(frozen=True)
class Entry:
    """A record and the file it came from; its evidence lies beside that."""

    path: Path
    record: Kept


@dataclass(frozen=True)
class Facts:
    """The records of one board. ``links`` holds the page of a row by the digest of its record."""

    contest: Leaderboard
    entries: tuple[Entry, ...]
    pair: tuple[str, str] | None = None
    links: Mapping[str, str] = field(default_factory=dict)
    found: dict[object, Any] = field(default_factory=dict, compare=False, repr=False)

    def of(self, kind: type[T]) -> list[T]:
        """The records of one kind."""
        return [entry.record for entry in self.entries if isinstance(entry.record, kind)]

    def once(self, key: object, make: Callable[[], T]) -> T:
        """What several sections ask for, made when the first one does."""
        if key not in self.found:
            self.found[key] = make()
        kept: T = self.found[key]
        return kept

    def body(self, record: Kept) -> Json:
        """A record as plain values; digests of long ones take a while, so it is made once."""
        return self.once(("body", id(record)), record.json)

    def path(self, record: Kept) -> Path:
        """The file that a record came from."""
        return next(entry.path for entry in self.entries if entry.record is record)


@dataclass(frozen=True)
class Cell:
    """One field of a table: what is read, what it sorts by, where it leads.

    A ``share`` is drawn as a bar with its interval beside the number.
    """

    text: str
    key: Key | None = None
    href: str = ""
    share: Share | None = None
    warns: bool = False


@dataclass(frozen=True)
class Table:
    """Heads and lines; the first ``lead`` columns name the line.

    ``facets`` are heads of columns that a reader may filter by.
    """

    caption: str
    heads: tuple[str, ...]
    lines: tuple[tuple[Cell, ...], ...]
    facets: tuple[str, ...] = ()
    lead: int = 1


@dataclass(frozen=True)
class Figure:
    """A drawing as SVG, and in words what it shows, for those who cannot see it."""

    title: str
    svg: bytes
    words: str


@dataclass(frozen=True)
class Picture:
    """One example: PNGs side by side, each with its own few words, and a line below."""

    parts: tuple[tuple[str, bytes], ...]
    words: str


@dataclass(frozen=True)
class Block:
    """What a section has to say, in the order in which it is read."""

    words: tuple[str, ...] = ()
    figures: tuple[Figure, ...] = ()
    tables: tuple[Table, ...] = ()
    pictures: Mapping[str, tuple[Picture, ...]] = field(default_factory=dict)  # by heading
    codes: tuple[str, ...] = ()  # commands to copy


@dataclass(frozen=True)
class Section:
    """One part of a page: ``build`` says it, or why it is left out, or nothing where it is foreign.

    Sections stand in order of ``place``.
    """

    name: str
    title: str
    place: int
    build: Callable[[Facts], Block | str | None]


@dataclass(frozen=True)
class Row:
    """The page of one row: its file, its title, the records on it, and titled blocks."""

    slug: str
    title: str
    records: tuple[Kept, ...]
    blocks: tuple[tuple[str, Block], ...]


def word(text: object, **more: Key | str | bool | None) -> Cell:
    """A field that is not a number."""
    return Cell(str(text), **more)  # type: ignore[arg-type]


def number(value: float, text: str | None = None) -> Cell:
    """A field that sorts as a number."""
    return Cell(f"{value:,}" if text is None else text, key=float(value))


def listed(settings: Json) -> str:
    """Settings as one reads them: ``rate=0.1, size=2``."""
    return ", ".join(f"{name}={value}" for name, value in sorted(settings.items())) or "none"


def shown(share: Share | None) -> Cell:
    """A share with its interval and a bar."""
    return Cell("") if share is None else Cell(str(share), key=share.value, share=share)
