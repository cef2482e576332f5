"""What a gate needs of a record: a bit an example and endpoint, and what was asked. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from robustbench_kd.ops.statistics.bitset import pack, unpack
from robustbench_kd.results.planted import Planted, flags
from robustbench_kd.results.record import Record, Share, digest

CONTROL = "untouched"
SHORT = 12  # hexadecimal digits that tell settings apart


@dataclass(frozen=True)
class Column:
    """One endpoint: whether each example went well for the defender.

    ``asks`` is the digest of the attack's settings.
    """

    asks: str
    count: int
    bits: str

    @property
    def flags(self) -> list[bool]:
        return unpack(self.bits, self.count)

    @property
    def share(self) -> Share:
        return Share(sum(self.flags), self.count)


@dataclass(frozen=True)
class Snapshot:
    """One student under one threat. ``attack`` is what was planted in training data, if it was.

    ``columns`` holds plain accuracy under ``untouched`` and one endpoint for each attack. For a
    planted attack, an example went well where it was not answered as the adversary wanted.
    """

    board: str
    scenario: str
    label: str
    seed: int
    attack: str | None
    threat: str
    ids: str
    examples: str
    weights: str
    claim: str
    columns: Mapping[str, Column]

    @property
    def name(self) -> str:
        """``fashion-linf/ard@0``: what a later run of the same student is found by."""
        parts = [self.board, *([self.attack] if self.attack else []), f"{self.label}@{self.seed}"]
        return "/".join(parts)

    @property
    def clean(self) -> Column:
        return self.columns[CONTROL]

    @property
    def attacks(self) -> dict[str, Column]:
        """The endpoints of single attacks."""
        return {name: column for name, column in self.columns.items() if name != CONTROL}

    @property
    def robust(self) -> list[bool]:
        """The primary endpoint: what survives every attack, or what was planted."""
        rows = self.columns if self.attack is None else self.attacks
        return [all(row) for row in zip(*(rows[name].flags for name in rows), strict=True)]

    @property
    def worst(self) -> Share:
        """The share of the primary endpoint."""
        robust = self.robust
        return Share(sum(robust), len(robust))


def snapshot(record: Record | Planted) -> Snapshot:
    """The snapshot of a record of either kind."""
    return _planted(record) if isinstance(record, Planted) else _evasion(record)


def _evasion(record: Record) -> Snapshot:
    return Snapshot(
        board=record.board,
        scenario=record.scenario,
        label=record.label,
        seed=record.seed,
        attack=None,
        threat=f"{record.threat['norm']} {record.threat['eps']:g}",
        ids=record.data["ids"],
        examples=record.data["examples"],
        weights=record.model["weights"],
        claim=record.claim,
        columns={
            cell.attack: Column(_asks(cell.attack, cell.settings), cell.count, cell.bits)
            for cell in record.cells
        },
    )


def _planted(record: Planted) -> Snapshot:
    stood = [not won for won in flags(record, "student", "won")]
    asks = _asks(record.attack, record.settings, record.eligible)
    return Snapshot(
        board=record.board,
        scenario=record.scenario,
        label=record.label,
        seed=record.seed,
        attack=record.attack,
        threat=record.door,
        ids=record.data["ids"],
        examples=record.data["examples"],
        weights=record.subjects["student"].weights,
        claim=record.claim,
        columns={
            CONTROL: _column(_asks(CONTROL), flags(record, "student", "right")),
            record.attack: _column(asks, stood),
        },
    )


def _column(asks: str, values: Sequence[bool]) -> Column:
    return Column(asks, len(values), pack(values))


def _asks(*what: object) -> str:
    return digest(list(what))[:SHORT]
