"""One bit an example, packed: a thousand examples take 168 characters. No dependency."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Sequence


def pack(flags: Iterable[bool]) -> str:
    """Flags -> base64 of their bits, the first flag in the highest bit of the first byte."""
    values = [bool(flag) for flag in flags]
    values += [False] * (-len(values) % 8)
    rows = (values[n : n + 8] for n in range(0, len(values), 8))
    return base64.b64encode(
        bytes(sum(bit << (7 - place) for place, bit in enumerate(row)) for row in rows)
    ).decode()


def unpack(text: str, count: int) -> list[bool]:
    """The flags again.

    Raises:
        ValueError: where the text is no base64, has another length, or bits after the last flag.
    """
    try:
        raw = base64.b64decode(text, validate=True)
    except binascii.Error as why:
        raise ValueError(f"these bits are no base64: {why}") from why
    if len(raw) != -(-count // 8):
        raise ValueError(f"{len(raw)} bytes cannot hold the bits of {count} examples")
    flags = [bool(byte >> (7 - place) & 1) for byte in raw for place in range(8)]
    if any(flags[count:]):
        raise ValueError("bits are set after the last example")
    return flags[:count]


def discordant(old: Sequence[bool], new: Sequence[bool]) -> tuple[int, int]:
    """How many pairs were lost (right -> wrong) and won (wrong -> right)."""
    lost = sum(a and not b for a, b in zip(old, new, strict=True))
    won = sum(b and not a for a, b in zip(old, new, strict=True))
    return lost, won
