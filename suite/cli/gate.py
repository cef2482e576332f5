"""``gate``: did robustness drop below what was accepted? Imports no torch unless it must ask."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from robustbench_kd.cli import _options
from robustbench_kd.cli._gate_records import asking, gathered, latest
from robustbench_kd.cli._output import SCHEMA, json_option
from robustbench_kd.cli.baseline import file
from robustbench_kd.core.errors import BadSetting, SaveFailed
from robustbench_kd.core.io import expect_writable, write_whole
from robustbench_kd.core.options import parse
from robustbench_kd.regression.baseline import load_baseline
from robustbench_kd.regression.decision import Rules
from robustbench_kd.regression.endpoints import pairs
from robustbench_kd.regression.gate import Gate, gate
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
  5  nothing to judge
  6  a report could not be written
  130  interrupted
"""


def judging(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say how a gate judges."""
    for option in (
        click.option(
            "--confirm",
            type=click.IntRange(min=0),
            default=0,
            metavar="SEEDS",
            help="Attack what still differs anew, by so many fresh seeds; implies --replay.",
        ),
        click.option("--replay", is_flag=True, help="Ask each network about what broke the other."),
        click.option("--strict-margin", is_flag=True, help="Fail only beyond the margin for sure."),
        click.option("--test", type=click.Choice(("midp", "exact")), default="midp"),
        click.option(
            "--margin",
            default="",
            metavar="POINTS",
            help="The drop that is borne: 2, or robust=2,clean=1,planted=5 (the defaults).",
        ),
        click.option(
            "--alpha", type=float, default=0.05, show_default=True, help="Chance of a false alarm."
        ),
    ):
        command = option(command)
    return command


def rules_of(alpha: float, margin: str, test: str, strict: bool) -> Rules:
    """The rules as typed; margins are typed in points and kept as shares.

    Raises:
        BadSetting: for a margin that is no number, or of something else.
    """
    names = {"robust": "margin", "clean": "clean", "planted": "planted"}
    given = parse(margin if "=" in margin or not margin else f"robust={margin}")
    shares: dict[str, float] = {}
    for name, text in given.items():
        if name not in names:
            raise BadSetting(f"no margin named {name!r}; there are: {', '.join(names)}")
        try:
            shares[names[name]] = float(text.removesuffix("pp")) / 100
        except ValueError as why:
            raise BadSetting(f"a margin is a number of points, such as 2, not {text!r}") from why
    return Rules(alpha=alpha, test=test, strict=strict, **shares)  # type: ignore[arg-type]


@click.command("gate", short_help="Did robustness drop below the baseline? For CI.", epilog=CODES)
@click.argument("new", nargs=-1)
@file
@_options.board
@click.option(
    "--against",
    type=click.Choice(("previous", "anchor", "both")),
    default="both",
    show_default=True,
)
@judging
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
    **asked: Any,
) -> int:
    """Hold new records to a baseline, image by image; exit 1 where robustness really dropped.

    NEW are paths of records, folders, or labels on the board; without, the newest record on this
    machine of every student in the baseline. The primary endpoint is the worst case over the panel,
    tested by McNemar's test, one-sided; a drop within the margin passes. All students are tested
    together, so that more of them raise no more false alarms.
    """
    rules = rules_of(asked["alpha"], asked["margin"], asked["test"], asked["strict_margin"])
    written = [_out(text) for text in outs]
    baseline = load_baseline(path)
    found = gathered(new, board) if new else latest({*baseline.previous, *baseline.anchor})
    ask = None
    if asked["replay"] or asked["confirm"]:
        given = (asked["confirm"], asked["model"], asked["net"], asked["evidence"])
        ask = asking(found.paths, *given)
    judged = gate(
        pairs(baseline, found.snapshots, against),
        rules,
        ask=ask,
        inconclusive_fails=asked["on_inconclusive"] == "fail",
        missing_fails=asked["on_missing"] == "fail",
    )
    for name, target in written:  # before anything is said, and whatever the verdict
        write_whole(target, _report(judged, name, path).encode())
    if github:
        _to_github(judged)
    click.echo(_report(judged, "json" if as_json else form, path), nl=False)
    if github:
        click.echo(_report(judged, "github", path), nl=False, err=as_json or form != "text")
    return judged.code


def _out(text: str) -> tuple[str, Path]:
    name, sign, target = text.partition("=")
    if not sign or not target or name not in FORMS:
        raise BadSetting(f"cannot read {text!r}; --out is FORM=FILE, a form of {', '.join(FORMS)}")
    expect_writable(Path(target).parent)
    return name, Path(target)


def _report(judged: Gate, form: str, path: Path) -> str:
    if form == "markdown":
        return as_markdown(judged)
    if form == "junit":
        return as_junit(judged)
    if form == "text":
        return _joined(list(lines(judged)))
    if form == "github":
        return _joined(list(workflow_commands(judged, path.as_posix())))
    if form == "sarif":
        body: Any = as_sarif(judged, path.as_posix(), _line_in(path))
    else:
        body = {"schema": SCHEMA, "command": "gate", "ok": True, **as_json(judged)}
    return json.dumps(body, indent=1, sort_keys=True, allow_nan=False) + "\n"


def _joined(found: Sequence[str]) -> str:
    return "".join(f"{line}\n" for line in found)


def _line_in(path: Path) -> Callable[[str], int]:
    """Where a student stands in the baseline file; new ones stand at its head."""
    text = path.read_text(encoding="utf-8").splitlines()
    heads = {line.strip().partition(": ")[0]: n for n, line in reversed(list(enumerate(text, 1)))}
    return lambda entry: heads.get(json.dumps(entry), 1)


def _to_github(judged: Gate) -> None:
    """The step's summary and outputs, in the files that a workflow names."""
    for name, text in (
        ("GITHUB_STEP_SUMMARY", as_markdown(judged)),
        ("GITHUB_OUTPUT", _joined(list(outputs(judged)))),
    ):
        if target := os.environ.get(name):
            try:
                with Path(target).open("a", encoding="utf-8") as file:
                    file.write(text)
            except OSError as why:
                raise SaveFailed(f"could not write {name}: {why.strerror or why}") from why
