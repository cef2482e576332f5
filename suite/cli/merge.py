"""``merge``: records of several machines and contributors, in one folder."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import click

from robustbench_kd.cli._output import SCHEMA, emit, json_option
from robustbench_kd.results.merge import Merged, merge

CODES = """
\b
Exit codes; the highest that applies, after all that is usable was written:
  0  every record is in the folder now
  2  a file is damaged, cut off, of a newer schema, or without its evidence
  4  a record measures something else than the others of its leaderboard
  5  there is no usable record
  6  a file could not be written
"""


@click.command("merge", short_help="Put folders of records together.", epilog=CODES)
@click.argument(
    "folders",
    nargs=-1,
    required=True,
    metavar="FOLDER...",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
)
@click.option(
    "--out",
    required=True,
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where all of them go; what it holds already stays as it is.",
)
@click.option(
    "--protocol",
    "right",
    multiple=True,
    metavar="RECORD",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A record of the right protocol, where those given differ; once for each leaderboard.",
)
@json_option
def merging(folders: tuple[Path, ...], out: Path, right: tuple[Path, ...], as_json: bool) -> int:
    """Put the records of several machines and contributors together, each with its evidence.

    The same claim is kept once; different answers to the same question lie side by side. Every
    file that cannot be trusted is named and left out, and the rest stays usable. Nothing is
    overwritten, and no folder but --out is changed. Records of older versions are written in the
    schema of this one.
    """
    merged = merge(folders, out, right)
    if as_json:
        emit(_document(merged, out))
    else:
        _print(merged, out)
    return merged.code


def _document(merged: Merged, out: Path) -> dict[str, object]:
    refused = [
        {"path": str(refusal.path), "why": refusal.why, "code": refusal.code}
        for refusal in merged.refused
    ]
    return {
        "schema": SCHEMA,
        "command": "merge",
        "ok": True,
        "exit_code": merged.code,
        "out": str(out),
        "written": [str(path) for path in merged.written],
        "present": [str(path) for path in merged.present],
        "duplicates": [str(path) for path in merged.duplicates],
        "refused": refused,
    }


def _print(merged: Merged, out: Path) -> None:
    for refusal in merged.refused:
        click.echo(f"refused: {refusal.why}")
    boards = Counter(path.parent.name for path in merged.written)
    for board, count in sorted(boards.items()):
        click.echo(f"{board}: {count} new")
    click.echo(
        f"{out}: {len(merged.written)} new, {len(merged.present)} there already, "
        f"{len(merged.duplicates)} the same as another, {len(merged.refused)} refused"
    )
