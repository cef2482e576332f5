"""Boards whose attacks hand in suspicions: rows, in any format."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from robustbench_kd.cli._output import document, progress, show, width

if TYPE_CHECKING:
    from robustbench_kd.core.config import Leaderboard
    from robustbench_kd.metrics._groups import Case
    from robustbench_kd.results.probed import Probed


def show_probed(
    contest: Leaderboard,
    records: Sequence[Probed],
    form: str,
    only: Sequence[str] = (),
    command: str = "leaderboard",
    mine: Sequence[Probed] = (),
    **more: Any,
) -> None:
    """Probed records in any format.

    Args:
        mine: only the rows of these, and of what they are measured against.
        more: what else the JSON document says.
    """
    from robustbench_kd.metrics import bias, trigger_removal
    from robustbench_kd.metrics import exposure as privacy
    from robustbench_kd.metrics._groups import cases, reference_of
    from robustbench_kd.reports.formats.dataframe import csv_of
    from robustbench_kd.reports.formats.markdown_latex import pipes, tabular
    from robustbench_kd.reports.formats.terminal import fitting, stacked_table

    found = cases(contest, records)
    if mine:
        found = _beside(found, mine)
    view: Any = {"exposure": privacy, "bias": bias, "removal": trigger_removal}[contest.rank_by]
    if form in ("json", "csv"):
        rows = [view.entry(case, reference_of(found, case)) for case in found]
        if form == "json":
            document(command, board=contest.name, title=contest.title, rows=rows, **more)
        else:
            for row in rows:
                row["seeds"] = "+".join(str(seed) for seed in row["seeds"])
            click.echo(csv_of(rows), nl=False)
        return
    heads, lines = view.cells(found, only)
    below = view.note(contest, found)
    if form == "table":
        hidden = heads[fitting(heads, width()) :]
        words = f"No room here for {', '.join(hidden)}; see --format markdown." if hidden else ""
        show(stacked_table(contest.title, heads, lines, width()), below, *filter(None, [words]))
    else:
        text = {"markdown": pipes, "latex": tabular}[form](heads, lines, below)
        click.echo(text, nl=False)


def evaluated(
    defense: str, contest: Leaderboard, data: str | None, as_json: bool, asked: dict[str, Any]
) -> None:
    """A defense's records on such a board, made now."""
    from robustbench_kd.evaluation.probing import probe
    from robustbench_kd.results.store import kept, load_probed, probed_path

    with progress() as say:
        records = probe(
            defense,
            board=contest.name,
            attacks=asked["attacks"] or None,
            seed=asked["seed"],
            train=asked["train"],
            folder=data,
            given={name: asked[name] for name in ("teacher_from", "student_from")},
            out=asked["out"],
            say=say,
        )
    keys = {_about(record) for record in records}
    others = [r for r in load_probed(None, contest.name) if _about(r) not in keys]
    form = "json" if as_json else "table"
    show_probed(contest, [*others, *records], form, command="evaluate", mine=records)
    if not as_json:
        path = probed_path(records[0], asked["out"] or kept())
        show("", f"Check it: robustbench-kd verify {path if len(records) == 1 else path.parent}")


def _about(record: Probed) -> tuple[object, ...]:
    """What a record answers: an attack, a defense and a seed on one ground."""
    from robustbench_kd.metrics._groups import ground_of

    return (*record.attacks, record.label, record.seed, *ground_of(record))


def _beside(found: Sequence[Case], mine: Sequence[Probed]) -> list[Case]:
    """The rows that hold these records, each with what it is measured against before it."""
    from robustbench_kd.metrics._groups import reference_of

    rows: list[Case] = []
    for case in found:
        if any(record is one for record in case.records for one in mine):
            against = reference_of(found, case)
            rows += [one for one in (against, case) if one is not None and one not in rows]
    return rows
