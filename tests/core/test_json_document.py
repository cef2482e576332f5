"""JSON from outside is read strictly: what a lenient reader would let pass is refused."""

from __future__ import annotations

import pytest

from robustbench_kd.core.json_document import DEPTH, read_json

REFUSED = {
    "a name twice": (b'{"a": 1, "b": {"c": 1, "c": 2}}', "'c' twice"),
    "NaN": (b"[NaN]", "NaN, which is no JSON"),
    "Infinity": (b"[Infinity]", "Infinity, which is no JSON"),
    "minus Infinity": (b"[-Infinity]", "-Infinity, which is no JSON"),
    "one level too many": (b"[" * (DEPTH + 1) + b"]" * (DEPTH + 1), f"deeper than {DEPTH}"),
    "a hundred thousand levels": (b"[" * 100_000 + b"]" * 100_000, f"deeper than {DEPTH}"),
    "half of a surrogate pair": (b'["\\ud800"]', "surrogates not allowed"),
    "half of a pair in a name": (b'{"\\uDFFF": 1}', "surrogates not allowed"),
    "a number of a million digits": (b"[" + b"9" * 1_000_000 + b"]", "digits"),
    "no text": (b"\xff\xfe", "can't decode"),
    "nothing": (b"", "Expecting value"),
}


@pytest.mark.parametrize(("raw", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_json_is_refused(raw: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_json(raw)


def test_what_is_json_is_read() -> None:
    assert read_json(b'\xef\xbb\xbf{"a": [1, 2.5, null, "\\ud83d\\ude00"]}') == {
        "a": [1, 2.5, None, "\N{GRINNING FACE}"]
    }
    deep = read_json(b"[" * DEPTH + b"]" * DEPTH)
    assert len(deep) == 1
