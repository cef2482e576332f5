"""One bit an example, packed: a thousand examples take 168 characters. No dependency.

Readers of thousands of records take the flags of each as one integer. The first flag is the highest
of ``count`` bits, so that integers of equal counts can be compared bit by bit:
``(a ^ b).bit_count()`` is the number of examples on which two students differ.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Sequence


def pack(flags: Iterable[bool]) -> str:
    """Flags -> base64 of their bits, the first flag in the highest bit of the first byte."""
    digits = "".join("1" if flag else "0" for flag in flags)
    return text_of(int(digits or "0", 2), len(digits))


def unpack(text: str, count: int) -> list[bool]:
    """The flags again.

    Raises:
        ValueError: where the text is no base64, has another length, or bits after the last flag.
    """
    return [digit == "1" for digit in f"{number_of(text, count):0{count}b}"[:count]]


def number_of(text: str, count: int) -> int:
    """Packed flags as one integer.

    Raises:
        ValueError: where the text is no base64, has another length, or bits after the last flag.
    """
    try:
        raw = base64.b64decode(text, validate=True)
    except binascii.Error as why:
        raise ValueError(f"these bits are no base64: {why}") from why
    if len(raw) != -(-count // 8):
        raise ValueError(f"{len(raw)} bytes cannot hold the bits of {count} examples")
    spare = -count % 8
    value = int.from_bytes(raw, "big")
    if value & ((1 << spare) - 1):
        raise ValueError("bits are set after the last example")
    return value >> spare


def text_of(number: int, count: int) -> str:
    """The integer as packed flags again."""
    raw = (number << -count % 8).to_bytes(-(-count // 8), "big")
    return base64.b64encode(raw).decode()


def discordant(old: Sequence[bool], new: Sequence[bool]) -> tuple[int, int]:
    """The number of pairs lost (true -> false) and won (false -> true)."""
    lost = sum(a and not b for a, b in zip(old, new, strict=True))
    won = sum(b and not a for a, b in zip(old, new, strict=True))
    return lost, won
