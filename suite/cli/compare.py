"""``compare``: did robustness drop? Imports no torch, so that a gate answers at once."""

from __future__ import annotations

import dataclasses
from typing import Any

import click

from robustbench_kd.cli import _options
from robustbench_kd.cli._gate_records import asking, gathered
from robustbench_kd.cli._output import document, json_option
from robustbench_kd.cli.gate import judging, rules_of
from robustbench_kd.core.errors import BadSetting
from robustbench_kd.regression.compare import expect_comparable
from robustbench_kd.regression.endpoints import Pair
from robustbench_kd.regression.gate import gate
from robustbench_kd.regression.snapshot import Snapshot
from robustbench_kd.reports.formats.gate_ci import as_json as numbers
from robustbench_kd.reports.formats.gate_text import sight, story


@click.command("compare", short_help="Did robustness drop? Exit 1 on more than chance and margin.")
@click.argument("old")
@click.argument("new")
@_options.board
@judging
@json_option
def comparing(old: str, new: str, board: str, as_json: bool, **asked: Any) -> int:
    """Compare two records image by image; exit 1 on a loss that is more than chance and margin.

    OLD and NEW are paths of records, or labels on the board: ard, or ard@1 for seed 1. An image is
    robust if it survives every attack of the panel; the test is McNemar's, one-sided.
    """
    rules = rules_of(asked["alpha"], asked["margin"], asked["test"], asked["strict_margin"])
    both = [gathered([text], board) for text in (old, new)]
    for text, found in zip((old, new), both, strict=True):
        if len(found.snapshots) != 1:
            raise BadSetting(f"{text} holds {len(found.snapshots)} records; compare takes one")
    before, after = (found.snapshots[0] for found in both)
    expect_comparable(before, after)
    paths = {**both[0].paths, **both[1].paths}
    ask = asking(paths, asked["confirm"]) if asked["replay"] or asked["confirm"] else None
    judged = gate([Pair(after.name, "old", before, after)], rules, ask=ask)
    one = judged.primary[0]
    if as_json:
        sides = {"old": _side(before), "new": _side(after)}
        counts = dataclasses.asdict(one.numbers) if one.numbers else {}
        rest = {k: v for k, v in numbers(judged).items() if k != "verdict"}
        document("compare", **counts, alpha=rules.alpha, **sides, **rest)
        return judged.code
    for side, record in (("old", before), ("new", after)):
        robust = record.worst
        words = f"robust {robust} of {robust.count}, clean {record.clean.share}"
        click.echo(f"{side}: {record.label}, seed {record.seed}: {words}")
    for finding in (one, *(other for other in judged.findings if other.role == "clean")):
        click.echo("\n".join(story(finding)))
    click.echo(sight(judged))
    return judged.code


def _side(one: Snapshot) -> dict[str, object]:
    return {"label": one.label, "seed": one.seed, "claim": one.claim}
