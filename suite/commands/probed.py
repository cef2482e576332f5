"""Boards whose attacks hand in suspicions: rows, in any format."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from robustbench_kd.commands.speaking import document, progress, show, width

if TYPE_CHECKING:
    from robustbench_kd.exposed import Probed
    from robustbench_kd.types import Leaderboard


def show_probed(
    contest: Leaderboard,
    records: Sequence[Probed],
    form: str,
    only: Sequence[str] = (),
    command: str = "leaderboard",
) -> None:
    """Probed records in any format."""
    from robustbench_kd.report import biased, pictured
    from robustbench_kd.report import probed as privacy
    from robustbench_kd.report.cases import cases, reference_of
    from robustbench_kd.report.tables import csv_of
    from robustbench_kd.report.terminal import stacked_table
    from robustbench_kd.report.texts import pipes, tabular

    found = cases(contest, records)
    view: Any = {"exposure": privacy, "bias": biased, "removal": pictured}[contest.rank_by]
    if form in ("json", "csv"):
        reference = reference_of(found)
        rows = [view.entry(case, reference) for case in found]
        if form == "json":
            document(command, board=contest.name, title=contest.title, rows=rows)
        else:
            for row in rows:
                row["seeds"] = "+".join(str(seed) for seed in row["seeds"])
            click.echo(csv_of(rows), nl=False)
        return
    heads, lines = view.cells(found, only)
    below = view.note(contest, found)
    if form == "table":
        show(stacked_table(contest.title, heads, lines, width()), below)
    else:
        text = {"markdown": pipes, "latex": tabular}[form](heads, lines, below)
        click.echo(text, nl=False)


def evaluated(
    defense: str, contest: Leaderboard, data: str | None, as_json: bool, asked: dict[str, Any]
) -> None:
    """A defense's records on such a board, made now."""
    from robustbench_kd.probing import probe
    from robustbench_kd.shelf import kept, probed_path

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
    show_probed(contest, records, "json" if as_json else "table", command="evaluate")
    if not as_json:
        path = probed_path(records[0], asked["out"] or kept())
        show("", f"Check it: robustbench-kd verify {path if len(records) == 1 else path.parent}")
