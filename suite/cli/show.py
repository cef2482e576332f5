"""``show``: all there is to know of one name."""

from __future__ import annotations

import dataclasses
import inspect
from functools import cached_property
from typing import Any, Literal, get_args, get_origin, get_type_hints

import click

from robustbench_kd.cli._output import document, json_option
from robustbench_kd.core.errors import UnknownName
from robustbench_kd.core.registry import KINDS, Entry, entries, find, split_name


@click.command("show", short_help="One name: its source, formula and settings.")
@click.argument("name")
@json_option
def showing(name: str, as_json: bool) -> None:
    """One attack, defense, scenario or leaderboard: source, formula, settings."""
    name, inner, _ = split_name(name)  # ard:alpha=0.9 is about ard
    kinds = {kind: entries(kind) for kind in KINDS}
    if not any(name in known for known in kinds.values()):
        every = [known for names in kinds.values() for known in names]
        raise UnknownName("attack, defense, scenario or leaderboard", name, every)
    found = [described(find(kind, name), inner) for kind, known in kinds.items() if name in known]
    if as_json:
        document("show", name=name, entries=found)
        return
    for facts in found:
        _print(facts)


def described(entry: Entry, inner: str | None = None) -> dict[str, Any]:
    """The facts about an entry, in the order in which they are printed.

    ``inner`` is the class of another library, where the entry is a bridge to one.
    """
    thing = entry.load()
    facts: dict[str, Any] = {"kind": entry.kind[:-1], "name": entry.name}
    if not isinstance(thing, type):
        return facts | _board(thing)
    facts["summary"] = entry.summary()
    facts["about"] = inspect.cleandoc(thing.__doc__ or "")
    for name in ("source", "made_for", "formula", "starts_from", "net", "nets", "media"):
        value = getattr(thing, name, None)
        if isinstance(value, property | cached_property):  # it hangs on settings
            value = getattr(thing(), name)
        if value:
            facts[name.replace("_", " ")] = value
    facts |= _offers(thing)
    if not hasattr(thing, "from_text"):
        facts |= _default(thing())
    elif inner:
        facts |= {"class": inner} | _default(thing.from_text(inner, ""))
    facts["settings"] = _settings(thing)
    return facts


def _offers(thing: type) -> dict[str, Any]:
    """Schedules of teachers, kinds of balls."""
    facts: dict[str, Any] = {}
    teaching = getattr(thing, "teaching", None)
    if isinstance(teaching, dict):  # nad has a number of that name
        facts["teachers"] = {r: dataclasses.asdict(s) for r, s in teaching.items()}
    if hasattr(thing, "norms"):
        facts["norms"] = list(thing.norms)
    return facts


def _default(thing: Any) -> dict[str, Any]:
    """What an instance tells: the teachers it needs, its threat."""
    facts: dict[str, Any] = {}
    if hasattr(thing, "needs"):
        facts["teachers"] = list(thing.needs)
    if hasattr(thing, "threat"):
        threat = thing.threat
        facts["threat"] = {"goal": threat.goal, "door": threat.door, "sees": threat.sight}
    return facts


def _board(board: Any) -> dict[str, Any]:
    seeds = {name: list(board.seeds_of(name)) for name in board.defenses}
    ball = {} if board.probed else {"ball": f"{board.budget.kind} {board.budget.amount:g}"}
    return {
        "title": board.title,
        "scenario": board.scenario,
        "door": board.door,
        **ball,
        "panel": list(board.panel),
        "wide": list(board.wide),
        "schedule": dataclasses.asdict(board.schedule),
        "defenses (seeds)": seeds,
    }


def _settings(thing: type) -> list[dict[str, Any]]:
    if not dataclasses.is_dataclass(thing):
        return []
    hints = get_type_hints(thing)
    return [
        {
            "name": field.name,
            "type": _words(hints[field.name]),
            "default": None if field.default is dataclasses.MISSING else field.default,
        }
        for field in dataclasses.fields(thing)
        if field.init
    ]


def _words(wanted: Any) -> str:
    """A type as one reads it: ``number or none``, ``clean or robust``."""
    names = {int: "whole number", float: "number", str: "text", bool: "true or false"}
    names[type(None)] = "none"
    if get_origin(wanted) is Literal:
        return " or ".join(str(choice) for choice in get_args(wanted))
    if get_args(wanted):
        return " or ".join(_words(choice) for choice in get_args(wanted))
    return names.get(wanted, getattr(wanted, "__name__", "text"))


def _print(facts: dict[str, Any]) -> None:
    click.secho(f"{facts.pop('name')} ({facts.pop('kind')})", bold=True)
    settings = facts.pop("settings", [])
    for name, value in facts.items():
        if value:
            click.echo(f"{name + ':':<12} {_value(value)}")
    for setting in settings:
        what = f"{setting['name']}={_value(setting['default'])}"
        click.echo(f"  {what:<24} {setting['type']}")
    click.echo("")


def _value(value: Any) -> str:
    if isinstance(value, dict) and not any(isinstance(v, dict | list) for v in value.values()):
        return ", ".join(f"{name} {_value(inner)}" for name, inner in value.items())
    if isinstance(value, dict):
        return "".join(f"\n  {name}: {_value(inner)}" for name, inner in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)
