"""Robustness class by class: two students of one mean may fail on different things."""

from __future__ import annotations

from collections.abc import Sequence

from robustbench_kd.reports.document import Block, Facts, Section, Table, number, shown, word
from robustbench_kd.reports.sections.adversarial_examples import images_of, shows
from robustbench_kd.reports.sections.heatmap import mapped
from robustbench_kd.reports.sections.ranking import rows_in
from robustbench_kd.results.record import Record, Share

Split = tuple[int, Share, Share]  # a class, its clean accuracy, its robust accuracy
WORDS = (
    "Percent of the images of each class that survive the whole panel, student by student. A class "
    "has a tenth of the images or so, and the interval of its share is three times as wide."
)


def classes(facts: Facts) -> Block | str | None:
    """A map of students and classes."""
    rows = rows_in(facts)
    if not rows:
        return None
    found = {row.label: each(facts, row.record) for row in rows}
    grid = [(label, [robust for _, _, robust in split]) for label, split in found.items() if split]
    if not grid:
        return "class by class: the images of these records are not here"
    asked = next(split for split in found.values() if split)
    names = [shows(facts, rows[0].record, place) for place, _, _ in asked]
    grid = [(label, shares) for label, shares in grid if len(shares) == len(names)]
    return mapped("Robust accuracy by class", names, grid, WORDS)


def each(facts: Facts, record: Record) -> list[Split]:
    """Every class that the record asks about, in order; none where its images are not here."""
    clean = images_of(facts, record)
    if clean is None:
        return []
    labels = clean.targets.tolist()
    untouched, robust = record.cell("untouched").flags, record.flags
    return [
        (place, _among(labels, untouched, place), _among(labels, robust, place))
        for place in sorted(set(labels))
    ]


def table(facts: Facts, record: Record) -> Table | None:
    """One student's classes; none where its images are not here."""
    lines = tuple(
        (word(shows(facts, record, place)), shown(right), shown(robust), number(right.count))
        for place, right, robust in each(facts, record)
    )
    return Table("Every class", ("class", "clean", "robust", "examples"), lines) if lines else None


def _among(labels: Sequence[int], flags: Sequence[bool], place: int) -> Share:
    own = [flag for label, flag in zip(labels, flags, strict=True) if label == place]
    return Share(sum(own), len(own))


SECTIONS = (Section("classes", "Class by class", 35, classes),)
