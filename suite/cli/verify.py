"""``verify``: one forward pass over the stored inputs, and a record stands or falls."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from robustbench_kd.cli import _options
from robustbench_kd.cli._output import document, json_option
from robustbench_kd.core.errors import BadRecord, BadSetting, NothingEvaluated

if TYPE_CHECKING:
    from robustbench_kd.evaluation.reasking import Reasked
    from robustbench_kd.evaluation.reprobing import Reprobed
    from robustbench_kd.results.record import Record

PATH = click.Path(exists=True, path_type=Path)


@click.command("verify", short_help="Replay the stored inputs of records.")
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
    """Replay records (or folders of them): digests, counts, ball, box, and every verdict.

    That proves that the images counted as broken are broken. Exit 1 if a record is refuted.

    \b
    The level says how far a record was checked here:
      L0  it parses and matches its own digest
      L1  bits, counts and intervals agree, and so does the file beside it
      L2  the stored inputs were replayed
      L3  the --rerun differs by no more than chance
      L4  and an attack that was made to break this very defense was among those tried
    """
    _options.use_threads(threads)
    paths = [path for given in records for path in _inside(given)]
    if not paths:
        raise NothingEvaluated(f"there is no record in {', '.join(map(str, records))}")
    again = _reruns(rerun)
    found = [_levelled(path, _verified(path, model, net), again) for path in paths]
    if as_json:
        document("verify", records=found, confirmed=all(one["confirmed"] for one in found))
    else:
        for one in found:
            word = "confirmed" if one["confirmed"] else "REFUTED"
            click.echo(f"{word}: {one['words']}; level {one['level']['name'] or 'none'}")
            for level in ("L3", "L4") if again else ():
                if reason := one["level"]["not_reached"].get(level):
                    click.echo(f"  not {level}: {reason}")
    return int(not all(one["confirmed"] for one in found))


def _inside(given: Path) -> list[Path]:
    return sorted(given.rglob("*.json")) if given.is_dir() else [given]


def _reruns(given: Path | None) -> list[Record]:
    """The records that were made again.

    Raises:
        BadSetting: where none of them is about attacks on test inputs.
    """
    from robustbench_kd.results.record import Record
    from robustbench_kd.results.store import read_any

    if given is None:
        return []
    found = [one for path in _inside(given) if isinstance(one := read_any(path), Record)]
    if not found:
        raise BadSetting(f"--rerun: {given} holds no record of attacks on test inputs")
    return found


def _levelled(path: Path, found: dict[str, Any], reruns: list[Record]) -> dict[str, Any]:
    from robustbench_kd.evaluation.verification_levels import level_of

    level = level_of(path, replayed=found["confirmed"], reruns=reruns)
    return {**found, "level": level.json()}


def _verified(path: Path, model: str | None, net: str | None) -> dict[str, Any]:
    from robustbench_kd.evaluation.fingerprints import scenario_of
    from robustbench_kd.evaluation.reasking import verify_planted
    from robustbench_kd.evaluation.reprobing import verify_probed
    from robustbench_kd.evaluation.verification import verify
    from robustbench_kd.models.loading import bring
    from robustbench_kd.results.probed import SCHEMA as PROBED
    from robustbench_kd.results.store import is_planted, kind_of, load_record

    try:
        if kind_of(path) == PROBED:
            return _reprobed(path, verify_probed(path))
        if is_planted(path):
            return _reasked(path, verify_planted(path))
        given = None
        if model is not None:
            given = bring(model, net, scenario_of(load_record(path).scenario))
        replay = verify(path, given)
    except BadRecord as why:
        return {"path": str(path), "confirmed": False, "words": str(why)}
    words = (
        f"{path}: {replay.broken} images are broken by their stored inputs, so at most "
        f"{replay.robust} are robust"
    )
    if replay.marginal:
        words += f" ({replay.marginal} too close to call)"
    return {"path": str(path), "confirmed": True, "words": words, **dataclasses.asdict(replay)}


def _reasked(path: Path, again: Reasked) -> dict[str, Any]:
    words = f"{path}: {again.networks} networks answer {again.inputs} inputs as the record says"
    if again.marginal:
        words += f" ({again.marginal} answers too close to call)"
    return {"path": str(path), "confirmed": True, "words": words, **dataclasses.asdict(again)}


def _reprobed(path: Path, again: Reprobed) -> dict[str, Any]:
    words = f"{path}: {again.networks} networks know {again.numbers} things as the record says"
    if again.marginal:
        words += f" ({again.marginal} too close to call)"
    return {"path": str(path), "confirmed": True, "words": words, **dataclasses.asdict(again)}
