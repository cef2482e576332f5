"""Which records a board is asked to show; whoever is left is ranked among those left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from robustbench_kd.core.errors import BadSetting, NothingEvaluated, UnknownName
from robustbench_kd.results.record import Json

R = TypeVar("R")


@dataclass(frozen=True)
class Wanted:
    """What a record must be to stay; None asks nothing.

    ``params`` and ``macs`` are the most that the student may have.
    """

    teacher: str | None = None
    told: bool | None = None
    params: int | None = None
    macs: int | None = None
    seed: int | None = None

    def json(self) -> Json:
        """What is asked for, by name."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    def keeps(self, record: Any) -> bool:
        """Whether a record, of any kind, is one of those."""
        size = (("params", "parameters"), ("macs", "macs"))
        return (
            (self.teacher is None or self.teacher in roles(record))
            and (self.told is None or bool(record.defense.get("told", False)) == self.told)
            and (self.seed is None or record.seed == self.seed)
            and all(
                (most := getattr(self, name)) is None or record.model[key] <= most
                for name, key in size
            )
        )

    def __str__(self) -> str:
        """In words: ``teacher robust, at most 1,500,000 MACs``; empty where nothing is asked."""
        parts = [f"teacher {self.teacher}"] if self.teacher is not None else []
        if self.told is not None:
            parts.append("told the secret" if self.told else "not told the secret")
        parts += [f"at most {self.params:,} parameters"] if self.params is not None else []
        parts += [f"at most {self.macs:,} MACs"] if self.macs is not None else []
        return ", ".join(parts + ([f"seed {self.seed}"] if self.seed is not None else []))


def roles(record: Any) -> list[str]:
    """The roles of a record's teachers, sorted."""
    return sorted(record.teachers if hasattr(record, "teachers") else record.defense["needs"])


def chosen(records: Sequence[R], wanted: Wanted, board: str) -> list[R]:
    """The records that are wanted.

    Raises:
        BadSetting: where a size is asked of records that hold none.
        UnknownName: for a teacher that no record has.
        NothingEvaluated: where none is left.
    """
    if not wanted.json() or not records:
        return list(records)
    if (wanted.params, wanted.macs) != (None, None) and not hasattr(records[0], "model"):
        raise BadSetting(
            f"records of {board} hold no sizes of networks; choose by --teacher, --told or --seed"
        )
    known = {role for record in records for role in roles(record)}
    if wanted.teacher is not None and wanted.teacher not in known:
        raise UnknownName(f"teacher in the records of {board}", wanted.teacher, known or {"none"})
    found = [record for record in records if wanted.keeps(record)]
    if not found:
        raise NothingEvaluated(f"no record of {board} is left by this choice: {wanted}")
    return found
