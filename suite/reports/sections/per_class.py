"""Robust accuracy by class: two students of one mean may fail on different classes."""

from __future__ import annotations

from typing import NamedTuple

from robustbench_kd.core.estimates import Estimate
from robustbench_kd.reports.document import (
    Block,
    BoardRecords,
    RowSection,
    Section,
    Table,
    number_cell,
    share_cell,
    text_cell,
)
from robustbench_kd.reports.leaderboard import RankingRow
from robustbench_kd.reports.sections.adversarial_examples import class_name, clean_images
from robustbench_kd.reports.sections.heatmap import share_map
from robustbench_kd.reports.sections.tradeoffs import evasion_rows
from robustbench_kd.results.record import CLEAN, Record

DESCRIPTION = (
    "Percent of the images of each class that each student classifies correctly under every "
    "attack. A class has about a tenth of the images, so its intervals are about three times as "
    "wide."
)


class ClassAccuracy(NamedTuple):
    """Clean and robust accuracy on the images of one class, given by its number."""

    place: int
    clean: Estimate
    robust: Estimate


def classes(board: BoardRecords) -> Block | str | None:
    """A map of students and classes."""
    rows = evasion_rows(board)
    if not rows:
        return None
    by_student = {row.label: class_accuracies(board, row.record) for row in rows}
    measured = {label: values for label, values in by_student.items() if values}
    if not measured:
        return "accuracy by class: the images of these records are not here"
    places = [value.place for value in next(iter(measured.values()))]
    names = [class_name(board, rows[0].record, place) for place in places]
    grid = [
        (label, [value.robust for value in values])
        for label, values in measured.items()
        if len(values) == len(places)
    ]
    return share_map("Robust accuracy by class", names, grid, DESCRIPTION)


def class_accuracies(board: BoardRecords, record: Record) -> list[ClassAccuracy]:
    """Every class of the test images, in order; none where the images are not here."""
    images = clean_images(board, record)
    if images is None:
        return []
    columns = record.bits(CLEAN, "student", "correct").flags, record.robust.flags
    targets = images.targets.tolist()
    accuracies = []
    for place in sorted(set(targets)):
        own = [n for n, target in enumerate(targets) if target == place]
        clean, robust = (Estimate.share(sum(flags[n] for n in own), len(own)) for flags in columns)
        accuracies.append(ClassAccuracy(place, clean, robust))
    return accuracies


def classes_of_row(board: BoardRecords, row: RankingRow) -> Block | None:
    """One student's classes."""
    if row.record.capability != "test_data":
        return None
    rows = tuple(
        (
            text_cell(class_name(board, row.record, value.place)),
            share_cell(value.clean),
            share_cell(value.robust),
            number_cell(value.robust.count),
        )
        for value in class_accuracies(board, row.record)
    )
    table = Table("Accuracy by class", ("class", "clean", "robust", "samples"), rows)
    return Block(tables=(table,)) if rows else None


SECTIONS = (Section("classes", "Accuracy by class", 35, classes),)
ROW_SECTIONS = (RowSection("Accuracy by class", 35, classes_of_row),)
