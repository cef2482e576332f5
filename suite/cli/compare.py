"""``compare``: is one student worse than another? Imports no torch, so that it starts at once."""

from __future__ import annotations

import dataclasses
from typing import Any

import click

from robustbench_kd.cli import _options
from robustbench_kd.cli._gate_records import gathered, replayer
from robustbench_kd.cli._output import document, json_option
from robustbench_kd.cli.gate import rules_of, testing
from robustbench_kd.core.errors import BadSetting
from robustbench_kd.regression.compare import expect_comparable
from robustbench_kd.regression.gate import gate
from robustbench_kd.regression.pairing import StudentPair
from robustbench_kd.regression.snapshot import Snapshot
from robustbench_kd.reports.formats.gate_ci import as_json as gate_json
from robustbench_kd.reports.formats.gate_text import finding_lines, sensitivity


@click.command("compare", short_help="Is a student worse? Exit 1 beyond chance and margin.")
@click.argument("old")
@click.argument("new")
@_options.board
@testing
@json_option
def comparing(old: str, new: str, board: str, as_json: bool, **options: Any) -> int:
    """Compare two records sample by sample; exit 1 on a loss beyond chance and margin.

    OLD and NEW are paths of records, or labels on the board: ard, ard@1 for seed 1, or
    badnets/ard@1 where each attack trains its own student. What is compared is the metric that the
    leaderboard ranks by: robust accuracy (an image is robust if it survives every attack of the
    panel), attack success, exposure. Bits are tested by McNemar's test, numbers by a sign-flip
    test, one-sided.
    """
    rules = rules_of(options["alpha"], options["margin"], options["test"], options["strict_margin"])
    sides = [gathered([text], board) for text in (old, new)]
    for text, records in zip((old, new), sides, strict=True):
        if len(records.snapshots) != 1:
            raise BadSetting(f"{text} holds {len(records.snapshots)} records; compare takes one")
    before, after = (records.snapshots[0] for records in sides)
    expect_comparable(before, after)
    paths = {**sides[0].paths, **sides[1].paths}
    replay = options["replay"] or options["confirm"]
    result = gate(
        [StudentPair(after.name, "old", before, after)],
        rules,
        replayer=replayer(paths, options["confirm"]) if replay else None,
    )
    primary = result.primary[0]
    if as_json:
        numbers = dataclasses.asdict(primary.numbers) if primary.numbers else {}
        rest = {name: value for name, value in gate_json(result).items() if name != "verdict"}
        both = {"old": _side(before), "new": _side(after)}
        document("compare", **numbers, alpha=rules.alpha, unit=primary.unit, **both, **rest)
        return result.code
    for side, shot in (("old", before), ("new", after)):
        click.echo(f"{side}: {shot.label}, seed {shot.seed}: {shot.summary}")
    for finding in (primary, *(f for f in result.findings if f.role == "utility")):
        click.echo("\n".join(finding_lines(finding)))
    click.echo(sensitivity(result))
    return result.code


def _side(shot: Snapshot) -> dict[str, object]:
    return {"label": shot.label, "seed": shot.seed, "claim": shot.claim}
