"""``verify``: the models of records are queried again, and a record stands or falls."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from robustbench_kd.cli import _options
from robustbench_kd.cli._output import document, json_option
from robustbench_kd.core.errors import BadModel, BadRecord, MissingData, NothingEvaluated

if TYPE_CHECKING:
    from robustbench_kd.results.record import Record

PATH = click.Path(exists=True, path_type=Path)
WORDS = {True: "confirmed", False: "REFUTED", None: "not checkable here"}


@click.command("verify", short_help="Query the models of records again.")
@click.argument("records", nargs=-1, required=True, type=PATH, metavar="RECORD...")
@click.option("--model", metavar="MODULE:FACTORY|FILE", help="The network, where it is your own.")
@_options.net
@click.option(
    "--rerun",
    type=PATH,
    metavar="RECORD",
    help="The same evaluation (or a folder of them) as you made it again yourself.",
)
@_options.threads
@json_option
def verifying(
    records: tuple[Path, ...],
    model: str | None,
    net: str | None,
    rerun: Path | None,
    threads: int,
    as_json: bool,
) -> int:
    """Check records (or folders of them): digests, budgets, and every recorded value.

    Each model is queried again, with the stored inputs where a record has any. That proves that
    examples counted as broken are broken. Exit 1 if a record is refuted; 2 if none is, but one
    could not be checked because its data or a model is not here.

    \b
    The level says how far a record was checked here:
      L0  it parses and matches its own digest
      L1  columns and counts agree, and so does the file beside it
      L2  its models were queried again
      L3  the --rerun differs by no more than chance
      L4  and an attack designed to break this very defense was among those run
    """
    _options.use_threads(threads)
    paths = [path for given in records for path in _files(given)]
    if not paths:
        raise NothingEvaluated(f"there is no record in {', '.join(map(str, records))}")
    reruns = _reruns(rerun)
    results = [_checked(path, model, net, reruns) for path in paths]
    if as_json:
        document("verify", records=results, confirmed=all(r["confirmed"] for r in results))
    else:
        for result in results:
            level = result["level"]["name"] or "none"
            click.echo(f"{WORDS[result['confirmed']]}: {result['words']}; level {level}")
            for above in ("L3", "L4") if reruns else ():
                if reason := result["level"]["not_reached"].get(above):
                    click.echo(f"  not {above}: {reason}")
    if any(result["confirmed"] is False for result in results):
        return 1
    return 2 if any(result["confirmed"] is None for result in results) else 0


def _files(given: Path) -> list[Path]:
    return sorted(given.rglob("*.json")) if given.is_dir() else [given]


def _reruns(given: Path | None) -> list[Record]:
    """The records that were made again."""
    from robustbench_kd.results.store import read_record

    return [] if given is None else [read_record(path) for path in _files(given)]


def _checked(
    path: Path, model: str | None, net: str | None, reruns: list[Record]
) -> dict[str, Any]:
    """Whether a record is confirmed (None where that cannot be checked), in words and numbers."""
    from robustbench_kd.evaluation.entries import scenario_of
    from robustbench_kd.evaluation.verification import verify
    from robustbench_kd.evaluation.verification_levels import level_of
    from robustbench_kd.models.loading import load_network
    from robustbench_kd.results.store import read_record

    result: dict[str, Any] = {"path": str(path)}
    try:
        network = None
        if model is not None:
            network = load_network(model, net, scenario_of(read_record(path).scenario))
        verification = verify(path, network)
        words = f"{path}: {verification.words()}"
        result |= {"confirmed": True, "words": words, **verification.json()}
    except BadRecord as why:
        result |= {"confirmed": False, "words": str(why)}
    except (BadModel, MissingData) as why:
        result |= {"confirmed": None, "words": f"{path}: {why}"}
    level = level_of(path, replayed=result["confirmed"] is True, reruns=reruns)
    return {**result, "level": level.json()}
