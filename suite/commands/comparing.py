"""``compare``: did robustness drop? Imports no torch, so that a gate answers at once."""

from __future__ import annotations

import dataclasses

import click

from robustbench_kd.commands import options
from robustbench_kd.commands.speaking import document, json_option
from robustbench_kd.comparison import Comparison, compare
from robustbench_kd.records import Record
from robustbench_kd.shelf import look_up


@click.command("compare", short_help="Did robustness drop? Exit 1 on more than chance.")
@click.argument("old")
@click.argument("new")
@options.board
@click.option(
    "--alpha", type=float, default=0.05, show_default=True, help="Chance of a false alarm."
)
@json_option
def comparing(old: str, new: str, board: str, alpha: float, as_json: bool) -> int:
    """Compare two records image by image; exit 1 on a loss that is more than chance.

    OLD and NEW are paths of records, or labels on the board: ard, or ard@1 for seed 1. An image is
    robust if it survives every attack of the panel; the test is McNemar's, exact and one-sided.
    """
    before, after = look_up(old, board)[1], look_up(new, board)[1]
    found = compare(before, after, alpha)
    regressed = found.verdict == "regressed"
    if as_json:
        sides = {"old": _side(before), "new": _side(after)}
        document("compare", **dataclasses.asdict(found), alpha=alpha, **sides)
        return int(regressed)
    for side, record in (("old", before), ("new", after)):
        words = f"robust {record.worst} of {record.worst.count}, clean {record.clean}"
        click.echo(f"{side}: {record.label}, seed {record.seed}: {words}")
    click.echo(_words(found, alpha))
    return int(regressed)


def _side(record: Record) -> dict[str, object]:
    return {"label": record.label, "seed": record.seed, "id": record.id}


def _words(found: Comparison, alpha: float) -> str:
    low, high = 100 * found.low, 100 * found.high
    says = {
        "regressed": f"a loss that is more than chance (at {alpha:g})",
        "improved": f"a gain that is more than chance (at {alpha:g})",
        "no difference shown": "chance may explain it",
    }
    return (
        f"lost {found.lost}, won {found.won} of {found.count}: a drop of {100 * found.drop:.1f} "
        f"points [{low:.1f}, {high:.1f}], p = {found.p:.2g}: {says[found.verdict]}"
    )
