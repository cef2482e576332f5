"""Text from outside that is printed: one line, and nothing that a terminal would obey."""

from __future__ import annotations

import re

UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, line ends, marks that change the direction of text, lone surrogates."""


def one_line(text: str) -> str:
    r"""The text with every unprintable character as its escape, such as ``\x1b`` or ``\n``."""
    return UNPRINTABLE.sub(lambda sign: ascii(sign[0])[1:-1], text)


def is_one_line(text: str) -> bool:
    """Whether a text can be a name: it is not empty, and holds nothing unprintable."""
    return bool(text) and UNPRINTABLE.search(text) is None
