"""Flags as one whole number, for whoever asks thousands of records. No dependency.

The first flag is the highest of ``count`` bits, so that numbers of equal counts can be compared
bit by bit: ``(a ^ b).bit_count()`` is how many examples two students answer differently.
"""

from __future__ import annotations

import base64
import binascii


def number_of(text: str, count: int) -> int:
    """Packed flags (``ops.bits.pack``) as one number.

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


def packed(value: int, count: int) -> str:
    """The number as packed flags again."""
    raw = (value << -count % 8).to_bytes(-(-count // 8), "big")
    return base64.b64encode(raw).decode()
