"""The constructor arguments of a library's attack: parsed from text, and filled by our settings."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from dataclasses import field, make_dataclass
from typing import Any

from robustbench_kd.core.errors import BadSetting, UnknownName
from robustbench_kd.core.options import configure, parse

RADII = ("eps", "max_epsilon")
STEPS = ("alpha", "eps_step")
OURS = (*RADII, "norm", "targeted", "verbose")  # set by our own settings, never by the library's
TYPEABLE = (bool, int, float, str, type(None))


def find_attack(library: str, classes: Mapping[str, type], name: str) -> type:
    """The class of this name.

    Raises:
        UnknownName: with the nearest name and all that the library offers.
    """
    if name not in classes:
        raise UnknownName(f"attack of {library}", name, classes)
    return classes[name]


def constructor_arguments(attack: type) -> dict[str, Any]:
    """The constructor's arguments and their defaults, without the model, which comes first."""
    parameters = list(inspect.signature(attack).parameters.values())[1:]
    return {p.name: p.default for p in parameters if p.kind is not inspect.Parameter.VAR_KEYWORD}


def needs_model_alone(attack: type) -> bool:
    """Whether the model is the only argument without a default."""
    return inspect.Parameter.empty not in constructor_arguments(attack).values()


def accepts_any(attack: type, names: Iterable[str]) -> bool:
    """Whether the constructor takes an argument of one of these names."""
    return not constructor_arguments(attack).keys().isdisjoint(names)


def parse_arguments(attack: type, text: str) -> dict[str, Any]:
    """``steps=20,alpha=2/255`` as values of the types that the defaults have.

    Numbers, strings and truth values can be typed; arguments of other types keep their defaults.

    Raises:
        BadSetting: for an argument that the constructor does not have, with those that it has.
    """
    fields = [
        (name, _type_of(default), field(default=default))
        for name, default in constructor_arguments(attack).items()
        if name not in OURS and isinstance(default, TYPEABLE)
    ]
    typed = parse(text)
    values: Any = configure(make_dataclass(attack.__name__, fields), typed)
    return {name: getattr(values, name) for name in typed}


def with_our_settings(
    attack: type, typed: Mapping[str, Any], eps: float, **ours: Any
) -> dict[str, Any]:
    """The typed arguments, and those of our settings that the constructor takes.

    A step size that was not typed keeps the library's own ratio to the radius: left alone, steps
    made for 8/255 would never cross a larger ball.
    """
    accepted = constructor_arguments(attack)
    values = {name: value for name, value in ours.items() if name in accepted}
    for radius in RADII:
        if radius in accepted:
            values[radius] = eps
            for step in STEPS:
                if step in accepted:
                    values[step] = accepted[step] / accepted[radius] * eps
    return {**values, **typed}


def construct(library: str, attack: type, model: object, values: Mapping[str, Any]) -> Any:
    """The library's attack.

    Raises:
        BadSetting: where its constructor refuses, with its reason.
    """
    try:
        return attack(model, **values)
    except (AssertionError, TypeError, ValueError) as why:
        raise BadSetting(f"{attack.__name__} of {library} refuses its settings: {why}") from why


def check_norm(library: str, attack: type, norm: str, only: str | None) -> None:
    """Refuses a norm that the attack does not support; ``only`` is its one norm, if it has one.

    Raises:
        BadSetting: naming the norm that would do.
    """
    if only is not None and only != norm:
        raise BadSetting(
            f"{attack.__name__} of {library} perturbs within {only}, not {norm}; add norm={only} "
            "and an eps to match, or choose another attack"
        )


def _type_of(default: object) -> Any:
    if isinstance(default, bool):
        return bool
    if isinstance(default, (int, float)):
        return int | float
    return str if isinstance(default, str) else int | float | str | None
