"""``baseline``: what robustness was when somebody accepted it, as one file for git."""

from __future__ import annotations

from pathlib import Path

import click

from robustbench_kd.cli import _options
from robustbench_kd.cli._gate_records import gathered
from robustbench_kd.cli._output import document, json_option
from robustbench_kd.core.errors import BadSetting
from robustbench_kd.ops.statistics.bitset import discordant
from robustbench_kd.regression.baseline import Baseline, accepted, load_baseline, save_baseline
from robustbench_kd.regression.snapshot import Snapshot
from robustbench_kd.results.record import Json

FILE = Path(".rkd/baseline.json")
file = click.option(
    "--baseline",
    "path",
    type=click.Path(path_type=Path, dir_okay=False),
    default=FILE,
    show_default=True,
    metavar="FILE",
    help="Lies in git; about 170 bytes for 1,000 examples and an attack.",
)
reason = click.option("--reason", required=True, metavar="TEXT", help="Why this is accepted.")
records = click.argument("records", nargs=-1, required=True, metavar="RECORD...")


@click.group("baseline", short_help="Accept today's robustness, as a file for git.")
def baselining() -> None:
    """Accept today's robustness, as one file for git, which robustbench-kd gate holds others to.

    RECORD is a path, a folder, or a label on the board: ard, or ard@1 for seed 1. The file keeps
    two baselines: what was last accepted, and an anchor (a release, say) against slow drift.
    """


@baselining.command("save")
@records
@file
@reason
@click.option("--force", is_flag=True, help="Replace the file and its anchor.")
@_options.board
@json_option
def saving(
    records: tuple[str, ...], path: Path, reason: str, force: bool, board: str, as_json: bool
) -> None:
    """Make a baseline of these records; it is its own anchor."""
    if path.exists() and not force:
        raise BadSetting(
            f"there is a baseline {path} already; move it by robustbench-kd baseline update, or "
            "replace it and its anchor by --force"
        )
    baseline = accepted(gathered(records, board).snapshots, reason)
    save_baseline(baseline, path)
    _say("baseline save", baseline, path, as_json)


@baselining.command("update")
@records
@file
@reason
@click.option("--anchor", is_flag=True, help="Also move the anchor: at a release.")
@_options.board
@json_option
def updating(
    records: tuple[str, ...], path: Path, reason: str, anchor: bool, board: str, as_json: bool
) -> None:
    """Accept these records as the last baseline; the anchor stays unless it is asked for."""
    old = load_baseline(path)
    new = old.updated(gathered(records, board).snapshots, reason, anchor=anchor)
    save_baseline(new, path)
    if not as_json:
        for name, one in new.previous.items():
            if one != old.previous.get(name):
                click.echo(_moved(name, old.previous.get(name), one))
    _say("baseline update", new, path, as_json)


@baselining.command("show")
@file
@json_option
def showing(path: Path, as_json: bool) -> None:
    """Print what is in a baseline."""
    _say("baseline show", load_baseline(path), path, as_json)


def _moved(name: str, old: Snapshot | None, new: Snapshot) -> str:
    if old is None:
        return f"{name}: new"
    moves = []
    for attack, column in new.columns.items():
        was = old.columns.get(attack)
        if was is None or was.count != column.count or was.asks != column.asks:
            moves.append(f"{attack} asks something else")
        else:
            lost, won = discordant(was.flags, column.flags)
            moves.append(f"{attack} lost {lost}, won {won}")
    return f"{name}: {'; '.join(moves)}"


def _say(command: str, baseline: Baseline, path: Path, as_json: bool) -> None:
    if as_json:
        parts = {"previous": baseline.previous, "anchor": baseline.anchor}
        shown = {part: {n: _numbers(s) for n, s in one.items()} for part, one in parts.items()}
        document(command, path=str(path), reason=baseline.reason, **shown)
        return
    for name, one in baseline.previous.items():
        where = (
            ""
            if baseline.anchor.get(name) == one
            else ", its anchor differs: "
            + (str(baseline.anchor[name].worst) if name in baseline.anchor else "none")
        )
        click.echo(
            f"{name}: robust {one.worst} of {one.worst.count}, clean {one.clean.share}{where}"
        )
    click.echo(f"{path}: {path.stat().st_size:,} bytes; reason: {baseline.reason}")


def _numbers(one: Snapshot) -> Json:
    cells = {name: {"right": c.share.hits, "count": c.count} for name, c in one.columns.items()}
    share = one.worst
    return {
        "robust": {"right": share.hits, "count": share.count},
        "cells": cells,
        "claim": one.claim,
        "weights": one.weights,
    }
