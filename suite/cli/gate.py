"""``gate``: is a student worse than what was accepted? No torch unless networks are queried."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from robustbench_kd.cli import _options
from robustbench_kd.cli._gate_records import gathered, latest, replayer
from robustbench_kd.cli._output import SCHEMA, json_option
from robustbench_kd.cli.baseline import file
from robustbench_kd.core.aliases import current_name
from robustbench_kd.core.errors import BadSetting, SaveFailed, UnknownName
from robustbench_kd.core.io import expect_writable, write_whole
from robustbench_kd.core.options import parse
from robustbench_kd.core.registry import entries
from robustbench_kd.regression.baseline import SCHEMA as BASELINE_SCHEMA
from robustbench_kd.regression.baseline import load_baseline
from robustbench_kd.regression.decision import Rules
from robustbench_kd.regression.gate import Gate, gate
from robustbench_kd.regression.pairing import pairs
from robustbench_kd.regression.snapshot import TEST_NLL
from robustbench_kd.reports.formats.gate_ci import (
    as_json,
    as_junit,
    as_sarif,
    outputs,
    workflow_commands,
)
from robustbench_kd.reports.formats.gate_text import as_markdown, lines

FORMS = ("text", "json", "markdown", "github", "junit", "sarif")
CODES = """
\b
Exit codes; the highest that applies:
  0  every student is ok, changed or improved, or inconclusive with --on-inconclusive warn
  1  regressed, regressed-severe or attack-weakened
  2  usage or bad input
  3  inconclusive, with --on-inconclusive fail
  4  not comparable: no baseline, a student vanished or is new, other data or attacks
  5  nothing to compare
  6  a report could not be written
  7  internal error: no verdict
  130  interrupted
"""


def testing(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say how a gate tests."""
    for option in (
        click.option(
            "--confirm",
            type=click.IntRange(min=0),
            default=0,
            metavar="SEEDS",
            help="Attack what still differs with so many fresh seeds; implies --replay.",
        ),
        click.option(
            "--replay",
            is_flag=True,
            help="Query each network with the inputs that broke the other.",
        ),
        click.option("--strict-margin", is_flag=True, help="Fail only beyond the margin for sure."),
        click.option(
            "--test", type=click.Choice(("midp", "exact")), default="midp", help="Of bits."
        ),
        click.option(
            "--margin",
            default="",
            metavar="MARGIN",
            help="The tolerated loss: 2 (in the unit of the primary metric), or by metric: "
            "robust-accuracy=2,exposure=0.5.  [default: each metric's own]",
        ),
        click.option(
            "--alpha", type=float, default=0.05, show_default=True, help="Chance of a false alarm."
        ),
    ):
        command = option(command)
    return command


def rules_of(alpha: float, margin: str, test: str, strict: bool) -> Rules:
    """The rules as typed.

    Raises:
        BadSetting: for a margin that is no number.
        UnknownName: for one of no metric.
    """
    if "=" not in margin:
        primary = _margin(margin) if margin else None
        return Rules(alpha=alpha, margin=primary, test=test, strict=strict)  # type: ignore[arg-type]
    margins = {}
    known = {*entries("metrics"), TEST_NLL}
    for typed, text in parse(margin).items():
        name = current_name("metrics", typed.replace("_", "-"))
        if name not in known:
            raise UnknownName("metric", typed, known)
        margins[name] = _margin(text)
    return Rules(alpha=alpha, margins=margins, test=test, strict=strict)  # type: ignore[arg-type]


def _margin(text: str) -> float:
    try:
        return float(text.removesuffix("pp"))
    except ValueError as why:
        raise BadSetting(
            f"a margin is a number, such as 2 (points of a share), not {text!r}"
        ) from why


@click.command("gate", short_help="Is a student worse than its baseline? For CI.", epilog=CODES)
@click.argument("new", nargs=-1)
@file
@_options.board
@click.option(
    "--against",
    type=click.Choice(("previous", "anchor", "both")),
    default="both",
    show_default=True,
)
@testing
@click.option("--model", metavar="MODULE:FACTORY|FILE", help="The new network, if it is yours.")
@_options.net
@click.option("--evidence", type=click.Path(path_type=Path), metavar="DIR", help="Older records.")
@click.option("--on-inconclusive", type=click.Choice(("warn", "fail")), default="warn")
@click.option("--on-missing", type=click.Choice(("fail", "warn")), default="fail")
@click.option("--format", "form", type=click.Choice(FORMS), default="text", show_default=True)
@click.option("--out", "outs", multiple=True, metavar="FORM=FILE", help="Also write this report.")
@click.option("--github", is_flag=True, help="Annotations, step summary and outputs of an Action.")
@json_option
def gating(
    new: tuple[str, ...],
    path: Path,
    board: str,
    against: str,
    form: str,
    outs: tuple[str, ...],
    github: bool,
    as_json: bool,
    **options: Any,
) -> int:
    """Compare new records with a baseline, sample by sample; exit 1 where a student is worse.

    NEW are paths of records, folders, or labels on the board; without, the newest record on this
    machine of every student in the baseline. The primary endpoint is the metric that the
    leaderboard ranks by: robust accuracy, attack success, exposure. Bits are tested by McNemar's
    test, numbers by a sign-flip test, one-sided. A loss beyond chance
    fails unless it is certainly smaller than the margin; with --strict-margin it fails only where
    it certainly exceeds it. All students are tested together, so that more of them raise no more
    false alarms.
    """
    rules = rules_of(options["alpha"], options["margin"], options["test"], options["strict_margin"])
    reports = [_out(text) for text in outs]
    baseline = load_baseline(path)
    if baseline.schema != BASELINE_SCHEMA:
        click.echo(
            f"robustbench-kd: {path} has schema {baseline.schema}, which is read; where a student "
            "is not comparable, accept it anew by robustbench-kd baseline update",
            err=True,
        )
    records = gathered(new, board) if new else latest({*baseline.previous, *baseline.anchor})
    replay = None
    if options["replay"] or options["confirm"]:
        given = (options["confirm"], options["model"], options["net"], options["evidence"])
        replay = replayer(records.paths, *given)
    result = gate(
        pairs(baseline, records.snapshots, against),
        rules,
        replayer=replay,
        inconclusive_fails=options["on_inconclusive"] == "fail",
        missing_fails=options["on_missing"] == "fail",
    )
    for name, target in reports:  # before anything is printed, and whatever the verdict
        write_whole(target, _report(result, name, path).encode())
    if github:
        _to_github(result)
    click.echo(_report(result, "json" if as_json else form, path), nl=False)
    if github:
        click.echo(_report(result, "github", path), nl=False, err=as_json or form != "text")
    return result.code


def _out(text: str) -> tuple[str, Path]:
    name, sign, target = text.partition("=")
    if not sign or not target or name not in FORMS:
        raise BadSetting(f"cannot read {text!r}; --out is FORM=FILE, a form of {', '.join(FORMS)}")
    expect_writable(Path(target).parent)
    return name, Path(target)


def _report(result: Gate, form: str, path: Path) -> str:
    if form == "markdown":
        return as_markdown(result)
    if form == "junit":
        return as_junit(result)
    if form == "text":
        return _joined(list(lines(result)))
    if form == "github":
        return _joined(list(workflow_commands(result, path.as_posix())))
    if form == "sarif":
        body: Any = as_sarif(result, path.as_posix(), _line_in(path))
    else:
        body = {"schema": SCHEMA, "command": "gate", "ok": True, **as_json(result)}
    return json.dumps(body, indent=1, sort_keys=True, allow_nan=False) + "\n"


def _joined(parts: Sequence[str]) -> str:
    return "".join(f"{line}\n" for line in parts)


def _line_in(path: Path) -> Callable[[str], int]:
    """Where a student stands in the baseline file; new ones stand at its head."""
    text = path.read_text(encoding="utf-8").splitlines()
    heads = {line.strip().partition(": ")[0]: n for n, line in reversed(list(enumerate(text, 1)))}
    return lambda entry: heads.get(json.dumps(entry), 1)


def _to_github(result: Gate) -> None:
    """The step's summary and outputs, in the files that a workflow names."""
    for name, text in (
        ("GITHUB_STEP_SUMMARY", as_markdown(result)),
        ("GITHUB_OUTPUT", _joined(list(outputs(result)))),
    ):
        if target := os.environ.get(name):
            try:
                with Path(target).open("a", encoding="utf-8") as file:
                    file.write(text)
            except OSError as why:
                raise SaveFailed(f"could not write {name}: {why.strerror or why}") from why
