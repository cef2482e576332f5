"""``figure``: what the records of a board show, as one SVG file."""

from __future__ import annotations

from pathlib import Path

import click

from robustbench_kd.cli import _options
from robustbench_kd.cli._output import document, json_option
from robustbench_kd.core.errors import NothingEvaluated


@click.command("figure", short_help="Draw the records of a board as an SVG file.")
@click.argument("kind", type=click.Choice(["macs", "dose", "frontier"]))
@_options.board
@click.option(
    "--records",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    multiple=True,
    metavar="DIR",
    help="In place of the committed records; repeatable.",
)
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), required=True, metavar="FILE"
)
@json_option
def drawing(kind: str, board: str, records: tuple[Path, ...], out: Path, as_json: bool) -> None:
    """Draw robust accuracy against multiply-accumulates, success against dose, or a frontier.

    \b
    figure macs --board fashion-linf --out macs.svg
    figure dose --board fashion-backdoor --out dose.svg
    figure frontier --board text-privacy --out frontier.svg
    """
    from robustbench_kd.core.io import expect_writable, write_whole
    from robustbench_kd.core.registry import board_of
    from robustbench_kd.metrics._groups import cases as by_case
    from robustbench_kd.metrics.backdoor_transfer import cases
    from robustbench_kd.reports.figures import dose_figure, frontier_figure, macs_figure
    from robustbench_kd.results.store import load_planted, load_probed, load_records

    expect_writable(out.parent)
    contest = board_of(board)
    folders: tuple[Path | None, ...] = records or (None,)
    if kind == "macs":
        rows = [r for place in folders for r in load_records(place, board) if r.limit is None]
        if not rows:
            raise NothingEvaluated(f"there is no record of attacks on test inputs for {board}")
        drawn, count = macs_figure(contest.title, rows), len(rows)
    elif kind == "frontier":
        held = by_case(contest, [r for place in folders for r in load_probed(place, board)])
        drawn, count = frontier_figure(contest.title, held), len(held)
    else:
        found = cases(contest, [r for place in folders for r in load_planted(place, board)])
        drawn, count = dose_figure(contest.title, found), len(found)
    write_whole(out, drawn)
    if as_json:
        document("figure", path=str(out), kind=kind, drawn=count)
        return
    click.echo(f"{out}: {count} records drawn")
