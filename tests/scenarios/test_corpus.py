"""Text corpora: paragraphs, their split, and windows of tokens."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from robustbench_kd.core.errors import MissingData
from robustbench_kd.scenarios import _corpus


def test_windows_predict_every_token_once() -> None:
    rows = _corpus.windows(list(range(21)), 5, 100)
    assert rows.inputs.flatten().tolist() == list(range(20))
    assert rows.targets.flatten().tolist() == list(range(1, 21))
    assert rows.ids.tolist() == [100, 101, 102, 103]
    assert len(_corpus.windows([1, 2, 3], 5, 0)) == 0


def test_paragraphs_are_lines_and_headings_are_joined_to_the_paragraph_below() -> None:
    text = "Heading\n\nA paragraph that\n   is long enough to stand by itself here.\n\n┌──┐\n│a │\n"
    assert _corpus.paragraphs(text) == [
        "Heading A paragraph that is long enough to stand by itself here."
    ]


def test_every_paragraph_is_in_exactly_one_part_and_parts_have_their_shares() -> None:
    lines = [
        f"Paragraph number {n:04d} of this text is long enough for itself." for n in range(500)
    ]
    parts = _corpus.split_text("\n\n".join(lines))
    assert list(parts) == list(_corpus.SHARES)
    assert sorted(line for part in parts.values() for line in part.splitlines()) == lines
    total = sum(map(len, parts.values()))
    for name, share in _corpus.SHARES.items():
        assert len(parts[name]) / total == pytest.approx(share, abs=0.01)


def test_a_folder_is_read_in_the_order_of_its_names_and_other_encodings_are_refused(
    tmp_path: Path,
) -> None:
    (tmp_path / "b.txt").write_text("second")
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(b"first"))
    (tmp_path / "c.md").write_text("not read")
    assert _corpus.read_files(_corpus.find_files(str(tmp_path))) == "first\n\nsecond"
    (tmp_path / "b.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(MissingData, match=r"b\.txt cannot be read as UTF-8"):
        _corpus.read_files(_corpus.find_files(str(tmp_path)))
    with pytest.raises(MissingData, match="no text in"):
        _corpus.find_files(str(tmp_path / "nowhere"))
