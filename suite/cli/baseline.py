"""``baseline``: what students withstood when it was accepted, as one file for git."""

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
from robustbench_kd.results.record import Bits, Json

FILE = Path(".rkd/baseline.json")
file = click.option(
    "--baseline",
    "path",
    type=click.Path(path_type=Path, dir_okay=False),
    default=FILE,
    show_default=True,
    metavar="FILE",
    help="Lies in git; about 350 bytes for 1,000 examples and an attack.",
)
reason = click.option("--reason", required=True, metavar="TEXT", help="Why this is accepted.")
records = click.argument("records", nargs=-1, required=True, metavar="RECORD...")


@click.group("baseline", short_help="Accept today's results, as a file for git.")
def baselining() -> None:
    """Accept today's results, as one file for git, which robustbench-kd gate compares others with.

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
    _print("baseline save", baseline, path, as_json)


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
    """Accept these records as the last baseline; the anchor stays unless --anchor is given."""
    old = load_baseline(path)
    new = old.updated(gathered(records, board).snapshots, reason, anchor=anchor)
    save_baseline(new, path)
    if not as_json:
        for name, shot in new.previous.items():
            if shot != old.previous.get(name):
                click.echo(_changes(name, old.previous.get(name), shot))
    _print("baseline update", new, path, as_json)


@baselining.command("show")
@file
@json_option
def showing(path: Path, as_json: bool) -> None:
    """Print what is in a baseline."""
    _print("baseline show", load_baseline(path), path, as_json)


def _changes(name: str, old: Snapshot | None, new: Snapshot) -> str:
    """What an update accepts, endpoint by endpoint."""
    if old is None:
        return f"{name}: new"
    changes = []
    for endpoint, after in new.endpoints.items():
        before = old.endpoints.get(endpoint)
        if before is None or before.settings != after.settings or before.count != after.count:
            changes.append(f"{endpoint} on other samples or under another attack")
            continue
        if isinstance(after.values, Bits):
            lost, won = discordant(before.favourable, after.favourable)
        else:
            losses = before.losses(after)
            lost, won = (sum(sign * loss > 0 for loss in losses) for sign in (1, -1))
        changes.append(f"{endpoint} lost {lost}, won {won}")
    return f"{name}: {'; '.join(changes)}"


def _print(command: str, baseline: Baseline, path: Path, as_json: bool) -> None:
    if as_json:
        parts = {"previous": baseline.previous, "anchor": baseline.anchor}
        shown = {part: {n: _json(s) for n, s in shots.items()} for part, shots in parts.items()}
        document(command, path=str(path), reason=baseline.reason, **shown)
        return
    for name, shot in baseline.previous.items():
        anchor = baseline.anchor.get(name)
        differs = (
            "" if anchor == shot else f", its anchor differs: {anchor.primary}" if anchor else ""
        )
        click.echo(f"{name}: {shot.summary}{differs}")
    click.echo(f"{path}: {path.stat().st_size:,} bytes; reason: {baseline.reason}")


def _json(shot: Snapshot) -> Json:
    endpoints = {
        name: {"role": end.role, "unit": end.unit, **end.estimate.json()}
        for name, end in shot.endpoints.items()
    }
    return {"endpoints": endpoints, "claim": shot.claim, "weights": shot.weights}
