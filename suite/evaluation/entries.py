"""Entries as one types them: scenarios, defenses, attacks and leaderboards with their settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any, cast

from robustbench_kd.core import options, registry
from robustbench_kd.core.config import Budget, Leaderboard
from robustbench_kd.core.errors import BadSetting
from robustbench_kd.core.protocols import AnyAttack, Defense, Scenario
from robustbench_kd.results.record import Json

CONTROL = "standard-training"
"""The undistilled control."""


def scenario_of(name: str, folder: str | None = None, **settings: str | None) -> Scenario:
    """The scenario of this name.

    Args:
        folder: where its data may lie.
        settings: its other settings, such as a checkpoint to start from; None leaves the default.

    Raises:
        BadSetting: where it has no such setting.
    """
    entry = registry.find("scenarios", name).load()
    given = {key: value for key, value in settings.items() if value is not None}
    known = {field.name for field in fields(entry)}
    for key in given:
        if key not in known:
            raise BadSetting(
                f"{entry.name} has no --{key.replace('_', '-')}: its networks are its own"
            )
    given |= {} if folder is None else {"folder": folder}
    return cast(Scenario, options.configure(entry, {}, **given))


def defense_of(text: str) -> Defense:
    """The defense as typed: ``ard`` or ``ard:alpha=0.9``."""
    return cast(Defense, registry.configured("defenses", text))


def control() -> Defense:
    """The undistilled control: the same student, trained on labels."""
    return defense_of(CONTROL)


def label_of(defense: Defense) -> str:
    """The defense as one types it, with the settings that differ from the default, in order."""
    plain, settings = options.written(type(defense)()), options.written(defense)
    changed = [
        f"{name}={_short(value)}" for name, value in settings.items() if value != plain.get(name)
    ]
    return defense.name + (":" + ",".join(changed) if changed else "")


def described(defense: Defense) -> Json:
    """The defense as records name it."""
    return {
        "name": defense.name,
        "label": label_of(defense),
        "settings": options.written(defense),
        "teacher_roles": list(defense.teacher_roles),
        "oracle": bool(getattr(defense, "oracle", False)),
    }


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value).lower()


def attack_of(text: str, leaderboard: Leaderboard) -> AnyAttack:
    """The attack as typed; budget and capability are the leaderboard's unless they are given.

    An attack that does not know the leaderboard's norm (Carlini & Wagner's is L2) keeps its own
    norm and eps.
    """
    name, _, _ = registry.split_name(text)
    entry = registry.find("attacks", name).load()
    defaults: dict[str, Any] = {"eps": leaderboard.budget.amount, "norm": leaderboard.budget.kind}
    if leaderboard.budget.kind not in getattr(entry, "norms", (leaderboard.budget.kind,)):
        defaults = {}
    if leaderboard.poisons:
        defaults = {"capability": leaderboard.capability}
    return cast(AnyAttack, registry.configured("attacks", text, **defaults))


def with_eps(leaderboard: Leaderboard, eps: float | None) -> Leaderboard:
    """The leaderboard with another radius for its attacks; itself where none is given.

    Raises:
        BadSetting: for a radius that is none.
    """
    if eps is None:
        return leaderboard
    return replace(leaderboard, budget=Budget(leaderboard.budget.kind, eps))


def common_budget(attacks: Mapping[str, AnyAttack], leaderboard: Leaderboard) -> Budget:
    """The one budget of all these attacks: a worst case over several means nothing.

    Raises:
        BadSetting: naming two attacks that differ.
    """
    budgets = {
        text: attack.threat.budget
        for text, attack in attacks.items()
        if attack.threat.budget is not None
    }
    if not budgets:
        return leaderboard.budget
    first = next(iter(budgets))
    for text, budget in budgets.items():
        if budget != budgets[first]:
            raise BadSetting(
                f"{first} moves within {budgets[first]} and {text} within {budget}; a worst case "
                "needs one budget, so run them one by one, or give them the same eps and norm"
            )
    return budgets[first]
