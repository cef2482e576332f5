"""The constructor arguments of a library's attack: read from text, and filled from our settings."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from dataclasses import field, make_dataclass
from typing import Any

from robustbench_kd.core.errors import BadSetting, UnknownName
from robustbench_kd.core.options import configure, parse

RADII = ("eps", "max_epsilon")
STEPS = ("alpha", "eps_step")
OURS = (*RADII, "norm", "targeted", "verbose")  # set by our own settings, never by theirs
PLAIN = (bool, int, float, str, type(None))


def find(library: str, known: Mapping[str, type], attack: str) -> type:
    """The class of this name.

    Raises:
        UnknownName: with the nearest name and all that the library offers.
    """
    if attack not in known:
        raise UnknownName(f"attack of {library}", attack, known)
    return known[attack]


def arguments(attack: type) -> dict[str, Any]:
    """The constructor's arguments and their defaults, without the model, which comes first."""
    parameters = list(inspect.signature(attack).parameters.values())[1:]
    return {p.name: p.default for p in parameters if p.kind is not inspect.Parameter.VAR_KEYWORD}


def constructible(attack: type) -> bool:
    """Whether the model is all that the constructor cannot do without."""
    return inspect.Parameter.empty not in arguments(attack).values()


def read(attack: type, text: str) -> dict[str, Any]:
    """``steps=20,alpha=2/255`` as values of the kinds that the defaults have.

    Numbers, words and truth values can be written; arguments of other kinds keep their defaults.

    Raises:
        BadSetting: for an argument that the constructor does not have, with those that it has.
    """
    fields = [
        (name, _kind(default), field(default=default))
        for name, default in arguments(attack).items()
        if name not in OURS and isinstance(default, PLAIN)
    ]
    given = parse(text)
    values: Any = configure(make_dataclass(attack.__name__, fields), given)
    return {name: getattr(values, name) for name in given}


def filled(attack: type, given: Mapping[str, Any], eps: float, **ours: Any) -> dict[str, Any]:
    """What was given, and of ours what the constructor takes and nobody gave.

    A step size that was not given keeps the library's own ratio to the radius: left alone, steps
    made for 8/255 would never cross a larger ball.
    """
    takes = arguments(attack)
    values = {name: value for name, value in ours.items() if name in takes}
    for radius in RADII:
        if radius in takes:
            values[radius] = eps
            for step in STEPS:
                if step in takes:
                    values[step] = takes[step] / takes[radius] * eps
    return {**values, **given}


def made(library: str, attack: type, model: object, values: Mapping[str, Any]) -> Any:
    """The library's attack.

    Raises:
        BadSetting: where its constructor refuses, with its reason.
    """
    try:
        return attack(model, **values)
    except (AssertionError, TypeError, ValueError) as why:
        raise BadSetting(f"{attack.__name__} of {library} refuses its settings: {why}") from why


def expect_ball(library: str, attack: type, kind: str, moves: str | None) -> None:
    """Refuses a ball that the attack does not know; ``moves`` is the only one it does, if any.

    Raises:
        BadSetting: naming the norm that would do.
    """
    if moves is not None and moves != kind:
        raise BadSetting(
            f"{attack.__name__} of {library} moves within {moves}, not {kind}; add norm={moves} "
            "and an eps to match, or choose another attack"
        )


def has_any(attack: type, names: Iterable[str]) -> bool:
    """Whether the constructor takes one of these."""
    return not arguments(attack).keys().isdisjoint(names)


def _kind(default: object) -> Any:
    if isinstance(default, bool):
        return bool
    if isinstance(default, (int, float)):
        return int | float
    return str if isinstance(default, str) else int | float | str | None
