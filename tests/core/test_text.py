"""Text from outside is printed on one line, and holds nothing that a terminal or CI would obey."""

from __future__ import annotations

import pytest

from robustbench_kd.core.errors import BadRecord
from robustbench_kd.core.text import is_one_line, one_line

HOSTILE = {
    "a command of a workflow": ("ard\n::stop-commands::x", r"ard\n::stop-commands::x"),
    "a colour": ("\x1b[31mred", r"\x1b[31mred"),
    "another colour": ("\x9b31mred", r"\x9b31mred"),
    "a change of direction": ("\u202eabc", r"\u202eabc"),
    "a line separator": ("a\u2028b", r"a\u2028b"),
    "a lone surrogate": ("\ud800", r"\ud800"),
}


@pytest.mark.parametrize(("text", "printed"), HOSTILE.values(), ids=HOSTILE)
def test_what_a_terminal_would_obey_is_escaped(text: str, printed: str) -> None:
    assert one_line(text) == printed
    assert not is_one_line(text)
    assert str(BadRecord(f"{text} is damaged")) == f"{printed} is damaged"


@pytest.mark.parametrize("text", ["ard:alpha=0.9", "mîn näme", "\N{GRINNING FACE}"])
def test_a_plain_name_stays_as_it_is(text: str) -> None:
    assert one_line(text) == text
    assert is_one_line(text)


def test_no_text_is_no_name() -> None:
    assert not is_one_line("")
