"""JSON from outside, read strictly: no NaN, no name twice, no depth or size without a bound."""

from __future__ import annotations

import json
from typing import Any

DEPTH = 24
"""Levels of arrays and objects; records and baselines have at most nine."""


def read_json(raw: bytes) -> Any:
    """The value of a JSON document in UTF-8, with or without a byte-order mark.

    Raises:
        ValueError: where it is none, names something twice in one object, nests deeper than
            ``DEPTH``, or holds NaN, Infinity or half of a surrogate pair.
    """
    try:
        value = json.loads(
            raw.decode("utf-8-sig"),
            object_pairs_hook=_without_repetition,
            parse_constant=_refused,
        )
    except RecursionError as why:
        raise ValueError(f"it nests deeper than {DEPTH} levels") from why
    if _is_deeper(value, DEPTH):
        raise ValueError(f"it nests deeper than {DEPTH} levels")
    if b"\\ud" in raw or b"\\uD" in raw:
        json.dumps(value, ensure_ascii=False).encode()  # fails where a surrogate stands alone
    return value


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        names = [name for name, _ in pairs]
        double = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"it names {double[:80]!r} twice")
    return value


def _refused(name: str) -> float:
    raise ValueError(f"it holds {name}, which is no JSON")


def _is_deeper(value: Any, levels: int) -> bool:
    inner = value.values() if type(value) is dict else value if type(value) is list else ()
    if levels == 0:
        return type(value) in (dict, list)
    return any(_is_deeper(part, levels - 1) for part in inner if type(part) in (dict, list))
