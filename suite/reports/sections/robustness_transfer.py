"""How much of its teacher's robustness a student keeps, sample by sample."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from robustbench_kd.core.estimates import Estimate
from robustbench_kd.reports.document import (
    Block,
    BoardRecords,
    Cell,
    Figure,
    Section,
    Table,
    number_cell,
    share_cell,
    text_cell,
)
from robustbench_kd.reports.drawing import TONES, Canvas, drawable, short_label, sketch
from robustbench_kd.reports.sections.attack_breakdown import stacked_bars
from robustbench_kd.results.record import Record

OUTCOMES = ("both robust", "lost", "gained", "neither")


class TeacherPair(NamedTuple):
    """A student and its teacher of a role, evaluated on the same samples by the same attacks."""

    role: str
    teacher: Record
    student: Record


def transfer(board: BoardRecords) -> Block | str | None:
    """The four outcomes of every student whose teacher has a record too."""
    if board.leaderboard.poisons:
        return None
    pairs = list(teacher_pairs(board.records))
    if not pairs:
        return (
            "robustness from teacher to student: none of these records is about the teacher of "
            "another record's student (evaluate --model TEACHER.safetensors makes one)"
        )
    heads = ("student", "role", "teacher", *OUTCOMES, "kept of the teacher's", "samples")
    rows = tuple(
        (
            text_cell(f"{pair.student.label}, seed {pair.student.seed}"),
            text_cell(pair.role),
            text_cell(pair.teacher.label),
            *(share_cell(Estimate.share(n, pair.student.robust.count)) for n in outcomes(pair)),
            _kept(pair),
            number_cell(pair.student.robust.count),
        )
        for pair in pairs
    )
    drawn, description = drawable(
        pairs,
        "Every test sample by whether teacher and student classify it correctly under every "
        "attack: both, the teacher alone (lost), the student alone (gained), or neither. Behind "
        "the student stand the teacher's role and the seed.",
    )
    svg = sketch(lambda canvas: _draw(canvas, drawn), 1.6 + 0.28 * len(drawn))
    figure = Figure("Robustness from teacher to student", svg, description)
    table = Table("Robustness that students keep of their teachers'", heads, rows)
    return Block(figures=(figure,), tables=(table,))


def teacher_pairs(records: Sequence[Record]) -> Iterator[TeacherPair]:
    """Every student under attacks on test data with each teacher that has a record too."""
    evasion = [record for record in records if record.capability == "test_data"]
    by_weights: dict[str, list[Record]] = {}
    for record in evasion:
        by_weights.setdefault(record.student["weights"], []).append(record)
    for student in evasion:
        for role in sorted(role for role in student.models if role.startswith("teacher-")):
            for teacher in by_weights.get(student.models[role]["weights"], ()):
                if teacher is not student and _question(teacher) == _question(student):
                    yield TeacherPair(role.removeprefix("teacher-"), teacher, student)
                    break


def outcomes(pair: TeacherPair) -> tuple[int, int, int, int]:
    """How many samples are robust for both, for the teacher alone, the student alone, neither."""
    teacher, student = pair.teacher.robust.number, pair.student.robust.number
    both, lost, gained = teacher & student, teacher & ~student, student & ~teacher
    neither = pair.student.robust.count - (teacher | student).bit_count()
    return both.bit_count(), lost.bit_count(), gained.bit_count(), neither


def _question(record: Record) -> tuple[object, ...]:
    """What two records must share to be compared sample by sample."""
    settings = [(label, result.settings) for label, result in record.attacks.items()]
    return record.data.get("ids"), record.data["examples"], record.threat, settings


def _kept(pair: TeacherPair) -> Cell:
    both, lost, *_ = outcomes(pair)
    return share_cell(Estimate.share(both, both + lost) if both + lost else None)


def _draw(canvas: Canvas, pairs: Sequence[TeacherPair]) -> None:
    names = [
        f"{short_label(pair.student.label, 20)}, {pair.role} {pair.student.seed}" for pair in pairs
    ]
    shares = [[n / pair.student.robust.count for n in outcomes(pair)] for pair in pairs]
    stacked_bars(canvas, names, list(zip(OUTCOMES, TONES, strict=False)), shares)


SECTIONS = (Section("transfer", "Robustness from teacher to student", 50, transfer),)
