"""Settings as they are typed, made into the frozen settings of an entry, or refused."""

from __future__ import annotations

import dataclasses
import math
import types
from difflib import get_close_matches
from fractions import Fraction
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from robustbench_kd.core.errors import BadSetting

T = TypeVar("T")


def parse(text: str) -> dict[str, str]:
    """``alpha=0.9,temperature=30`` -> a mapping of strings.

    Raises:
        BadSetting: for a part without ``=`` or a name given twice.
    """
    found: dict[str, str] = {}
    for part in filter(None, text.split(",")):
        name, sign, value = (piece.strip() for piece in part.partition("="))
        if not sign or not name or not value:
            raise BadSetting(f"cannot read {part!r}; settings are written name=value,name=value")
        if name in found:
            raise BadSetting(f"{name!r} is set twice in {text!r}")
        found[name.replace("-", "_")] = value
    return found


def configure(entry: type[T], given: dict[str, str], /, **defaults: Any) -> T:
    """An instance with these settings; ``defaults`` fill fields that were not given.

    Raises:
        BadSetting: for an unknown field (the known ones are listed), or a value that does not fit.
    """
    hints = get_type_hints(entry)
    fields = {f.name: hints[f.name] for f in dataclasses.fields(entry) if f.init}  # type: ignore[arg-type]
    name = getattr(entry, "name", entry.__name__)
    for key in given:
        if key not in fields:
            near = get_close_matches(key, fields, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            known = ", ".join(fields) or "none"
            raise BadSetting(f"{name} has no setting {key!r}.{hint} Its settings: {known}.")
    values = {key: value for key, value in defaults.items() if key in fields}
    for key, text in given.items():
        values[key] = _read(f"{name}:{key}", text, fields[key])
    return entry(**values)


def later(default: Any) -> Any:
    """A setting that an entry was given after students were trained without it.

    It stays unwritten while it holds its default, so that what was trained keeps its key.
    """
    return dataclasses.field(default=default, metadata={"later": True})


def written(settings: Any) -> dict[str, Any]:
    """The settings of an entry as plain values, for a record."""
    values: dict[str, Any] = dataclasses.asdict(settings)
    for field in dataclasses.fields(settings):
        if field.metadata.get("later") and values[field.name] == field.default:
            del values[field.name]
    return values


def _read(where: str, text: str, wanted: Any) -> Any:
    if get_origin(wanted) in (Union, types.UnionType):
        choices = get_args(wanted)
        if type(None) in choices and text.lower() == "none":
            return None
        for choice in choices:
            if choice is not type(None):
                try:
                    return _read(where, text, choice)
                except BadSetting:
                    continue
        raise BadSetting(f"{where}={text} fits none of {wanted}")
    if get_origin(wanted) is Literal:
        if text not in get_args(wanted):
            raise BadSetting(f"{where} must be one of {', '.join(get_args(wanted))}, not {text!r}")
        return text
    if wanted is bool:
        if text.lower() not in ("true", "false"):
            raise BadSetting(f"{where} must be true or false, not {text!r}")
        return text.lower() == "true"
    if wanted is str:
        return text
    return _number(where, text, wanted)


def _number(where: str, text: str, wanted: Any) -> int | float:
    """A number; fractions such as 8/255 are read as they stand, and 1.5M is 1,500,000."""
    try:
        if wanted is int:
            unit = {"k": 1_000, "M": 1_000_000, "G": 1_000_000_000}.get(text[-1:])
            whole = int(text) if unit is None else Fraction(text[:-1]) * unit
            if whole != int(whole):
                raise ValueError(text)
            return int(whole)
        value = float(Fraction(text)) if "/" in text else float(text)
    except (ValueError, ZeroDivisionError) as why:
        kind = "a whole number" if wanted is int else "a number such as 0.1 or 8/255"
        raise BadSetting(f"{where} must be {kind}, not {text!r}") from why
    if not math.isfinite(value):
        raise BadSetting(f"{where} must be finite, not {text!r}")
    return value
