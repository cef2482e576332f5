"""``list``: everything that has a name. Our own entries are not imported for it."""

from __future__ import annotations

from typing import Any

import click

from robustbench_kd.cli._output import document, json_option
from robustbench_kd.core.errors import BrokenPlugin
from robustbench_kd.core.registry import KINDS, MAIN, Entry, boards_of, entries

LISTED = tuple(kind for kind in KINDS if kind != "scorers")


@click.command("list", short_help="Attacks, defenses, scenarios, metrics, leaderboards.")
@click.argument("kind", required=False, type=click.Choice(LISTED))
@json_option
def listing(kind: str | None, as_json: bool) -> None:
    """Everything that has a name; of each defense also its home leaderboard.

    A third party's plug-in that cannot be loaded is listed with its error.
    """
    kinds = (kind,) if kind else LISTED
    items = {name: [line(entry) for entry in entries(name).values()] for name in kinds}
    if as_json:
        document("list", **items)
        return
    width = max((len(item["name"]) for lines in items.values() for item in lines), default=0)
    boards = max((len(item.get("home_board", "")) for item in items.get("defenses", ())), default=0)
    for name, lines in items.items():
        if not kind:
            click.secho(f"\n{name}" if name != kinds[0] else name, bold=True)
        for item in lines:
            words = f"BROKEN: {item['error']}" if item["error"] else item["summary"]
            board = f"{item['home_board']:<{boards}}  " if "home_board" in item else ""
            click.echo(f"  {item['name']:<{width}}  {board}{words}")
    if "defenses" in kinds:
        click.echo("\nBehind each defense its home leaderboard: evaluate --defense NAME uses it.")
    if not kind:
        click.echo("More on each: robustbench-kd show NAME")


def line(entry: Entry) -> dict[str, Any]:
    """Name, summary, and why it cannot be loaded; only a plug-in is loaded to find out."""
    error = None
    if not entry.ours:
        try:
            entry.load()
        except BrokenPlugin as why:
            error = str(why)
    facts: dict[str, Any] = {"name": entry.name, "summary": entry.summary()}
    facts |= {"from": entry.module, "error": error}
    if entry.kind == "defenses":
        boards = boards_of(entry.name)
        facts |= {"home_board": next(iter(boards), MAIN), "boards": boards}
    return facts
