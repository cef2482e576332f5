"""``show``: all there is to know of one name."""

from __future__ import annotations

import dataclasses
import inspect
from functools import cached_property
from typing import Any, Literal, get_args, get_origin, get_type_hints

import click

from robustbench_kd.cli._output import document, json_option
from robustbench_kd.core.aliases import current_name
from robustbench_kd.core.errors import UnknownName
from robustbench_kd.core.registry import (
    KINDS,
    Entry,
    boards_of,
    entries,
    find,
    home_board,
    split_name,
)


@click.command("show", short_help="One name: its source, formula and settings.")
@click.argument("name")
@json_option
def showing(name: str, as_json: bool) -> None:
    """One attack, defense, scenario, metric or leaderboard: source, formula, settings."""
    name, inner, _ = split_name(name)  # ard:alpha=0.9 is about ard
    known = {kind: entries(kind) for kind in KINDS if kind != "scorers"}
    kinds = [kind for kind, names in known.items() if current_name(kind, name) in names]
    if not kinds:
        every = [entry for names in known.values() for entry in names]
        raise UnknownName("attack, defense, scenario, metric or leaderboard", name, every)
    described_entries = [described(find(kind, name), inner) for kind in kinds]
    if as_json:
        document("show", name=name, entries=described_entries)
        return
    for facts in described_entries:
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
    for name in (
        "source",
        "adaptive_against",
        "formula",
        "starts_from",
        "net",
        "architectures",
        "modalities",
        "unit",
        "higher_is_better",
    ):
        value = getattr(thing, name, None)
        if isinstance(value, property | cached_property):  # it hangs on settings
            value = getattr(thing(), name)
        if value or value is False:
            facts[name.replace("_", " ")] = value
    facts |= _offers(thing)
    if not hasattr(thing, "from_text"):
        facts |= _default(thing())
    elif inner:
        facts |= {"class": inner} | _default(thing.from_text(inner, ""))
    facts["settings"] = _settings(thing)
    return facts


def _offers(thing: type) -> dict[str, Any]:
    """Schedules of teachers, norms of budgets, leaderboards of defenses."""
    facts: dict[str, Any] = {}
    teacher_schedules = getattr(thing, "teacher_schedules", None)
    if isinstance(teacher_schedules, dict):  # nad has a number of that name
        facts["teachers"] = {r: dataclasses.asdict(s) for r, s in teacher_schedules.items()}
    if hasattr(thing, "norms"):
        facts["norms"] = list(thing.norms)
    if hasattr(thing, "formula"):
        name = str(vars(thing)["name"])
        facts["home board"] = home_board(name)
        facts["leaderboards"] = boards_of(name)
    return facts


def _default(thing: Any) -> dict[str, Any]:
    """What an instance tells: the teachers it needs, its threat."""
    facts: dict[str, Any] = {}
    if hasattr(thing, "teacher_roles"):
        facts["teachers"] = list(thing.teacher_roles)
    if hasattr(thing, "threat"):
        threat = thing.threat
        facts["threat"] = {
            "goal": threat.goal,
            "capability": threat.capability,
            "knowledge": threat.knowledge,
            "scorer": threat.scorer,
        }
    return facts


def _board(board: Any) -> dict[str, Any]:
    seeds = {name: list(board.seeds_of(name)) for name in board.defenses}
    budget = {} if board.poisons else {"budget": f"{board.budget.kind} {board.budget.amount:g}"}
    return {
        "title": board.title,
        "scenario": board.scenario,
        "capability": board.capability,
        **budget,
        "attacks": list(board.attacks),
        "attacks on the full test set": list(board.full_test_attacks),
        "models": list(board.models),
        "metrics": list(board.metrics),
        "ranked by": board.rank_by,
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
