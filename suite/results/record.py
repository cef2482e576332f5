"""Records: what was observed, example by example, as immutable JSON that anyone can check.

This room needs no torch, so that comparing two records starts in a blink.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from robustbench_kd.core.errors import BadRecord
from robustbench_kd.ops.statistics.bitset import number_of, pack, text_of, unpack
from robustbench_kd.ops.statistics.proportions import wilson
from robustbench_kd.results.migrations import MIGRATIONS, migrated

SCHEMA = "robustbench-kd.record/1"
NEEDED = {  # what whoever folds a record looks up in its parts
    "defense": {"label", "name"},
    "model": {"weights", "net", "parameters", "macs"},
    "data": {"edition", "examples", "ids", "count"},
    "threat": {"norm", "eps"},
}
Json = dict[str, Any]


def canonical(value: Any) -> str:
    """JSON with sorted keys, no spaces and no NaN: the same text for the same value."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(value: Any) -> str:
    """SHA-256 of the canonical JSON."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


@dataclass(frozen=True)
class Share:
    """A count of a count, with Wilson's 95 % interval."""

    hits: int
    count: int

    @property
    def value(self) -> float:
        return self.hits / self.count

    @property
    def interval(self) -> tuple[float, float]:
        return wilson(self.hits, self.count)

    def __str__(self) -> str:
        """In percent: ``0.0 [0.0, 0.8]``."""
        low, high = self.interval
        return f"{100 * self.value:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def numbers(share: Share | None) -> Json | None:
    """A share as numbers: value, low, high, hits, count."""
    if share is None:
        return None
    low, high = share.interval
    return {
        "value": share.value,
        "low": low,
        "high": high,
        "hits": share.hits,
        "count": share.count,
    }


@dataclass(frozen=True)
class Cell:
    """One attack on one student: a bit an example, the passes spent, and what was noted."""

    attack: str
    settings: Json
    seed: int
    count: int
    right: int
    bits: str
    forward: int
    backward: int
    notes: Json = field(default_factory=dict)
    doubts: tuple[str, ...] = ()

    @property
    def flags(self) -> list[bool]:
        """Whether each example is still answered right."""
        return unpack(self.bits, self.count)

    @property
    def share(self) -> Share:
        return Share(self.right, self.count)


@dataclass(frozen=True)
class Record:
    """One student under one panel. Files are never edited; a correction is another record."""

    board: str
    scenario: str
    defense: Json  # name, settings, label; for somebody's own model: the name it was given
    model: Json  # weights, net, parameters, macs, origin, key
    teachers: Json  # weights by role
    data: Json  # edition, ids, inputs, count
    threat: Json  # norm, eps
    seed: int
    limit: int | None
    cells: tuple[Cell, ...]
    robust: Json  # hits, count, low, high, bits: the worst case over the panel
    wide: tuple[Cell, ...]
    evidence: Json  # file digest, bytes, rows
    health: Json
    doubts: tuple[str, ...]
    versions: Json
    spent: Json  # CPU seconds; not part of any claim
    schema: str = SCHEMA

    @property
    def label(self) -> str:
        """The defense as one types it, or the name of somebody's model."""
        label: str = self.defense["label"]
        return label

    @property
    def clean(self) -> Share:
        """The accuracy on untouched inputs."""
        return self.cell("untouched").share

    @property
    def worst(self) -> Share:
        """The share answered right under every attack of the panel."""
        return Share(self.robust["hits"], self.robust["count"])

    @property
    def flags(self) -> list[bool]:
        """Whether each example survives the whole panel."""
        return unpack(self.robust["bits"], self.robust["count"])

    def cell(self, attack: str) -> Cell:
        """The cell of an attack, by its name or as it was typed.

        Raises:
            BadRecord: where the record has none.
        """
        for cell in self.cells:
            if attack in (cell.attack, cell.attack.partition(":")[0]):
                return cell
        raise BadRecord(f"the record of {self.label} on {self.board} has no attack {attack!r}")

    def json(self) -> Json:
        """The record as plain JSON, its own digest included."""
        text = canonical(_plain(self))
        return {**json.loads(text), "id": hashlib.sha256(text.encode()).hexdigest()}

    @property
    def id(self) -> str:
        """SHA-256 of everything else in the record."""
        identity: str = self.json()["id"]
        return identity

    @property
    def claim(self) -> str:
        """SHA-256 of all but the time it took: the same run, made again, makes the same claim."""
        return digest({k: v for k, v in self.json().items() if k not in ("spent", "id")})


def _plain(record: Record) -> Json:
    """The fields of a record and of its cells; canonical JSON writes them without a copy."""
    body = {f.name: getattr(record, f.name) for f in dataclasses.fields(record)}
    cells = {part: [vars(cell) for cell in body[part]] for part in ("cells", "wide")}
    return body | cells


def worst_case(cells: Iterable[Cell]) -> list[bool]:
    """An example is robust if it survives every attack."""
    return [all(row) for row in zip(*(cell.flags for cell in cells), strict=True)]


def summed(flags: Sequence[bool]) -> Json:
    """Flags as a record keeps them: counts, interval and bits."""
    return _folded(number_of(pack(flags), len(flags)), len(flags))


def unsealed(body: Json, where: str) -> Json:
    """The record without its digest, which must be that of all the rest.

    Raises:
        BadRecord: where it was damaged or edited.
    """
    rest = {name: value for name, value in body.items() if name != "id"}
    if digest(rest) != body["id"]:
        raise BadRecord(f"{where} does not match its own digest: it was damaged or edited")
    return rest


def parse(text: str, where: str) -> Record:
    """The record in a text.

    Raises:
        BadRecord: where it is no record of this schema, is damaged, or contradicts itself.
    """
    try:
        return parse_body(json.loads(text), where)
    except ValueError as why:
        raise BadRecord(f"{where} is no record: {type(why).__name__}: {why}") from why


def parse_body(body: Json, where: str) -> Record:
    """The record in a document that was read already.

    Raises:
        BadRecord: where it is no record of this schema, is damaged, or contradicts itself.
    """
    try:
        schema = body.get("schema")
        if schema != SCHEMA and schema not in MIGRATIONS:
            raise BadRecord(f"{where} has schema {schema!r}; this version reads {SCHEMA!r}")
        body = migrated(unsealed(body, where))
        cells = {
            part: tuple(Cell(**{**cell, "doubts": tuple(cell["doubts"])}) for cell in body[part])
            for part in ("cells", "wide")
        }
        record = Record(**{**body, **cells, "doubts": tuple(body["doubts"])})
    except (ValueError, KeyError, TypeError, AttributeError) as why:
        raise BadRecord(f"{where} is no record: {type(why).__name__}: {why}") from why
    consistent(record, where)
    return record


def consistent(record: Record, where: str) -> None:
    """Bits, counts and intervals must tell one story.

    Raises:
        BadRecord: naming the first thing that does not.
    """
    try:
        for part, names in NEEDED.items():
            if missing := names - getattr(record, part).keys():
                raise BadRecord(f"{where} lacks the {min(missing)} of its {part}")
        robust = -1
        for cell in (*record.cells, *record.wide):
            flags = number_of(cell.bits, cell.count)
            if flags.bit_count() != cell.right:
                raise BadRecord(f"{where}: {cell.attack} counts {cell.right}, its bits do not")
            if not (cell.forward >= 0 and cell.backward >= 0):
                raise BadRecord(f"{where}: {cell.attack} spent a negative number of passes")
        for cell in record.cells:
            robust &= number_of(cell.bits, cell.count)
        if any(cell.count != record.data["count"] for cell in record.cells):
            raise BadRecord(f"{where}: an attack was tried on another number of examples")
        if not record.cells or _folded(robust, record.data["count"]) != record.robust:
            raise BadRecord(f"{where}: the worst case is not that of the attacks' bits")
        if not any(cell.attack == "untouched" for cell in record.cells):
            raise BadRecord(f"{where} lacks the control: what is right on untouched inputs")
        if len({cell.count for cell in record.wide}) > 1:
            raise BadRecord(f"{where}: the wide attacks were tried on different test sets")
    except (ValueError, TypeError, KeyError, AttributeError) as why:
        raise BadRecord(f"{where} contradicts itself: {why}") from why


def _folded(flags: int, count: int) -> Json:
    """What ``summed`` says of the same flags as one number."""
    hits = flags.bit_count()
    low, high = wilson(hits, count)
    return {"hits": hits, "count": count, "low": low, "high": high, "bits": text_of(flags, count)}
