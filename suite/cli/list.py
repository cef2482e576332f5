"""``list``: everything that has a name. Our own entries are not imported for it."""

from __future__ import annotations

from typing import Any

import click

from robustbench_kd.cli._output import document, json_option
from robustbench_kd.core.errors import BrokenPlugin
from robustbench_kd.core.registry import KINDS, Entry, entries


@click.command("list", short_help="What there is: attacks, defenses, scenarios, boards.")
@click.argument("kind", required=False, type=click.Choice(KINDS))
@json_option
def listing(kind: str | None, as_json: bool) -> None:
    """What there is: attacks, defenses, scenarios, leaderboards.

    A third party's plug-in that cannot be loaded is listed with its error.
    """
    kinds = (kind,) if kind else KINDS
    found = {name: [line(entry) for entry in entries(name).values()] for name in kinds}
    if as_json:
        document("list", **found)
        return
    width = max((len(item["name"]) for items in found.values() for item in items), default=0)
    for name, items in found.items():
        if not kind:
            click.secho(f"\n{name}" if name != kinds[0] else name, bold=True)
        for item in items:
            words = f"BROKEN: {item['error']}" if item["error"] else item["summary"]
            click.echo(f"  {item['name']:<{width}}  {words}")
    if not kind:
        click.echo("\nMore on each: robustbench-kd show NAME")


def line(entry: Entry) -> dict[str, Any]:
    """Name, summary, and why it cannot be loaded; only a plug-in is loaded to find out."""
    error = None
    if not entry.ours:
        try:
            entry.load()
        except BrokenPlugin as why:
            error = str(why)
    return {"name": entry.name, "summary": entry.summary(), "from": entry.module, "error": error}
