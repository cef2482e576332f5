"""``plot``: what the records of a leaderboard show, as one SVG file."""

from __future__ import annotations

from pathlib import Path

import click

from robustbench_kd.cli import _options
from robustbench_kd.cli._output import document, json_option

KINDS = ("pareto", "poisoning-rate", "utility")
RENAMED = {"macs": "pareto", "dose": "poisoning-rate", "frontier": "utility"}


class PlotKind(click.Choice):
    """A kind of plot; old names are understood."""

    def convert(self, value: str, param: object, ctx: object) -> str:
        return str(super().convert(RENAMED.get(value, value), param, ctx))  # type: ignore[arg-type]


@click.command("plot", short_help="Plot the records of a leaderboard as an SVG file.")
@click.argument("kind", type=PlotKind(KINDS))
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
def plotting(kind: str, board: str, records: tuple[Path, ...], out: Path, as_json: bool) -> None:
    """Plot robust accuracy against compute, attack success against rate, or exposure against cost.

    \b
    plot pareto --board fashion-linf --out pareto.svg
    plot poisoning-rate --board fashion-backdoor --out rates.svg
    plot utility --board text-privacy --out utility.svg
    """
    from robustbench_kd.core.io import expect_writable, write_whole
    from robustbench_kd.core.registry import board_of
    from robustbench_kd.reports.figures import draw
    from robustbench_kd.results.store import load_records

    expect_writable(out.parent)
    leaderboard = board_of(board)
    folders: tuple[Path | None, ...] = records or (None,)
    loaded = [record for folder in folders for record in load_records(folder, leaderboard.name)]
    drawn = draw(kind, leaderboard, [record for record in loaded if record.limit is None])
    write_whole(out, drawn)
    if as_json:
        document("plot", path=str(out), kind=kind, records=len(loaded))
        return
    click.echo(f"{out}: {len(loaded)} records")
