"""Packed flags: what they hold, and what cannot be flags."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robustbench_kd.ops.statistics.bitset import discordant, number_of, pack, text_of, unpack


@given(st.lists(st.booleans(), max_size=70))
def test_flags_survive_packing(flags: list[bool]) -> None:
    packed = pack(flags)
    assert unpack(packed, len(flags)) == flags
    assert text_of(number_of(packed, len(flags)), len(flags)) == packed


def test_bits_by_hand_and_their_length() -> None:
    assert pack([True, False, False, False, False, False, False, True, True]) == "gYA="
    assert len(pack([True] * 1000)) == 168


@pytest.mark.parametrize(
    ("text", "count", "message"),
    [
        ("gYA=", 8, "2 bytes cannot hold the bits of 8"),
        ("gYA=", 17, "2 bytes cannot hold the bits of 17"),
        ("gcA=", 9, "bits are set after the last"),
        ("g!A=", 9, "no base64"),
        ("gYA", 9, "no base64"),
    ],
)
def test_impossible_bits_are_refused(text: str, count: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        unpack(text, count)


def test_discordant_pairs_by_hand() -> None:
    old, new = [True, True, True, False, False], [True, False, False, True, False]
    assert discordant(old, new) == (2, 1)
    with pytest.raises(ValueError, match="shorter"):
        discordant(old, new[:-1])
