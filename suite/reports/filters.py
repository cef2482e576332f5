"""Which records a leaderboard is to show; whoever is left is ranked among those left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from robustbench_kd.core.errors import NothingEvaluated, UnknownName
from robustbench_kd.results.record import COUNTERPART, Json, Record

SIZES = {"max_params": "parameters", "max_macs": "macs"}


@dataclass(frozen=True)
class Selection:
    """What a record must be to stay; None excludes nothing.

    ``max_params`` and ``max_macs`` are the most that the student may have.
    """

    teacher: str | None = None
    oracle: bool | None = None
    max_params: int | None = None
    max_macs: int | None = None
    seed: int | None = None

    def json(self) -> Json:
        """What is selected by, by name."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    def keeps(self, record: Record) -> bool:
        """Whether a record is one of those, as far as its sizes are known."""
        student = record.student
        return (
            (self.teacher is None or self.teacher in teacher_roles(record))
            and (self.oracle is None or bool(record.defense.get("oracle")) == self.oracle)
            and (self.seed is None or record.seed == self.seed)
            and all(
                (most := getattr(self, name)) is None or (student.get(key) or 0) <= most
                for name, key in SIZES.items()
            )
        )

    def unknown_size(self, record: Record) -> str:
        """Why a record cannot be selected by size; empty where it can, or where none is given."""
        for name, key in SIZES.items():
            if getattr(self, name) is not None and record.student.get(key) is None:
                return f"its record does not say how many {key} the student has"
        return ""

    def __str__(self) -> str:
        """In words: ``teacher robust, at most 1,500,000 MACs``; empty where nothing is excluded."""
        parts = [f"teacher {self.teacher}"] if self.teacher is not None else []
        if self.oracle is not None:
            parts.append("oracle defenses" if self.oracle else "defenses that are no oracle")
        if self.max_params is not None:
            parts.append(f"at most {self.max_params:,} parameters")
        parts += [f"at most {self.max_macs:,} MACs"] if self.max_macs is not None else []
        return ", ".join(parts + ([f"seed {self.seed}"] if self.seed is not None else []))


ALL = Selection()


def teacher_roles(record: Record) -> list[str]:
    """The roles of the teachers that a record's defense learns from, sorted."""
    roles = record.defense.get("teacher_roles")
    if roles is None:
        teachers = (role for role in record.models if role.startswith("teacher-"))
        roles = [role.removeprefix("teacher-") for role in teachers if COUNTERPART not in role]
    return sorted(roles)


def select(
    records: Sequence[Record], selection: Selection, board: str
) -> tuple[list[Record], list[tuple[Record, str]]]:
    """The records that stay, and those that stay out because their size is not known, with why.

    Raises:
        UnknownName: for a teacher that no record has.
        NothingEvaluated: where there are records, and none is left.
    """
    if selection == ALL or not records:
        return list(records), []
    roles = {role for record in records for role in teacher_roles(record)}
    if selection.teacher is not None and selection.teacher not in roles:
        kind = f"teacher in the records of {board}"
        raise UnknownName(kind, selection.teacher, roles or {"none"})
    left = [record for record in records if selection.keeps(record)]
    without_size = [(record, why) for record in left if (why := selection.unknown_size(record))]
    stay = [record for record in left if not selection.unknown_size(record)]
    if not stay:
        words = f"no record of {board} is left by this choice: {selection}"
        raise NothingEvaluated(f"{words}; {without_size[0][1]}" if without_size else words)
    return stay, without_size
