"""What a student keeps of its teacher's robustness, example by example."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from robustbench_kd.reports.document import (
    Block,
    Cell,
    Facts,
    Figure,
    Section,
    Table,
    number,
    shown,
    word,
)
from robustbench_kd.reports.figures import TONES, Canvas, drawable, named, sketch
from robustbench_kd.reports.sections.attack_breakdown import stack
from robustbench_kd.results.record import Record, Share

FATES = ("both robust", "lost", "gained", "neither")


def heirs(facts: Facts) -> Block | str | None:
    """Both robust, lost, gained, neither: for each student whose teacher has a record too."""
    records = facts.of(Record)
    if not records:
        return None
    pairs = list(families(records))
    if not pairs:
        return (
            "teacher and student, example by example: none of these records is about a teacher of "
            "another one's student (evaluate --model TEACHER.safetensors makes one)"
        )
    words = (
        "Every test example by whether it survives the whole panel with the teacher and with the "
        "student: robust with both, lost on the way, gained by the student, or with neither. "
        "Beside the student stand the teacher's role and the seed."
    )
    heads = ("student", "role", "teacher", *FATES, "kept of the teacher's", "examples")
    lines = tuple(
        (
            word(f"{student.label}, seed {student.seed}"),
            word(role),
            word(teacher.label),
            *(shown(Share(count, len(student.flags))) for count in fates(teacher, student)),
            _kept(fates(teacher, student)),
            number(len(student.flags)),
        )
        for role, teacher, student in pairs
    )
    drawn, words = drawable(pairs, words)
    drawing = sketch(lambda canvas: _draw(canvas, drawn), 1.6 + 0.28 * len(drawn))
    figure = Figure("Robustness from teacher to student", drawing, words)
    table = Table("What students keep of their teachers' robustness", heads, lines)
    return Block(figures=(figure,), tables=(table,))


def families(records: Sequence[Record]) -> Iterator[tuple[str, Record, Record]]:
    """(role, teacher, student) where both were asked the same."""
    for student in records:
        for role, weights in sorted(student.teachers.items()):
            for teacher in records:
                known = teacher.model["weights"] == weights and teacher is not student
                if known and _alike(teacher, student):
                    yield role, teacher, student
                    break


def fates(teacher: Record, student: Record) -> tuple[int, int, int, int]:
    """How many examples are robust with both, lost, gained, robust with neither."""
    pairs = list(zip(teacher.flags, student.flags, strict=True))
    order = ((True, True), (True, False), (False, True), (False, False))
    both, lost, gained, neither = (pairs.count(kind) for kind in order)
    return both, lost, gained, neither


def _alike(teacher: Record, student: Record) -> bool:
    asked = [
        (
            record.data["ids"],
            record.data["examples"],
            record.threat,
            [(cell.attack, cell.settings) for cell in record.cells],
        )
        for record in (teacher, student)
    ]
    return asked[0] == asked[1]


def _kept(counts: tuple[int, int, int, int]) -> Cell:
    both, lost, *_ = counts
    return shown(Share(both, both + lost) if both + lost else None)


def _draw(canvas: Canvas, pairs: Sequence[tuple[str, Record, Record]]) -> None:
    names = [f"{named(s.label, 20)}, {role} {s.seed}" for role, _, s in pairs]
    shares = [[count / len(s.flags) for count in fates(t, s)] for _, t, s in pairs]
    stack(canvas, names, list(zip(FATES, TONES, strict=False)), shares)


SECTIONS = (Section("heirs", "From teacher to student", 50, heirs),)
