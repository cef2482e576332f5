"""Files from outside: regular, of a bounded size, and inflated to no more than is expected."""

from __future__ import annotations

import os
import tracemalloc
import zlib
from pathlib import Path

import pytest

from robustbench_kd.core.errors import BadRecord
from robustbench_kd.core.io import MEGABYTE, inflate, read_bytes


def test_a_regular_file_within_the_limit_is_read(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    assert read_bytes(path, 5) == b"12345"
    with pytest.raises(BadRecord, match="has 5 bytes, and such a file may have 4"):
        read_bytes(path, 4)


def test_a_pipe_is_refused_and_never_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with pytest.raises(BadRecord, match="no regular file"):
        read_bytes(path, 10)


@pytest.mark.parametrize("place", ["/dev/zero", "."])
def test_devices_and_folders_are_refused(place: str) -> None:
    with pytest.raises(BadRecord, match=r"no regular file|Is a directory"):
        read_bytes(Path(place), 10)


def test_a_link_is_refused_except_where_files_may_be_installed_as_links(tmp_path: Path) -> None:
    target, link = tmp_path / "secret", tmp_path / "record.json"
    target.write_bytes(b"private")
    link.symlink_to(target)
    with pytest.raises(BadRecord, match="is a symbolic link; name the file itself"):
        read_bytes(link, 10)
    assert read_bytes(link, 10, links=True) == b"private"


def test_a_path_that_cannot_be_is_refused() -> None:
    with pytest.raises(BadRecord, match="null byte"):
        read_bytes(Path("a\0b"), 10)


def test_what_inflates_to_the_expected_size_is_inflated() -> None:
    assert inflate(zlib.compress(b"abc"), 3) == b"abc"
    assert inflate(zlib.compress(b""), 0) == b""


@pytest.mark.parametrize("size", [0, 2, 4])
def test_another_size_than_expected_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match=f"does not inflate to {size} bytes"):
        inflate(zlib.compress(b"abc"), size)


@pytest.mark.parametrize("raw", [b"", b"none", zlib.compress(b"abc")[:-1]])
def test_what_is_damaged_is_refused(raw: bytes) -> None:
    with pytest.raises(ValueError, match=r"inflate|incorrect"):
        inflate(raw, 3)


def test_bytes_behind_the_end_are_refused() -> None:
    with pytest.raises(ValueError, match="does not inflate"):
        inflate(zlib.compress(b"abc") + b"more", 3)


def test_a_bomb_takes_no_more_memory_than_what_is_expected() -> None:
    deflater = zlib.compressobj(1)
    megabyte = bytes(MEGABYTE)
    bomb = b"".join(deflater.compress(megabyte) for _ in range(512)) + deflater.flush()
    tracemalloc.start()
    with pytest.raises(ValueError, match="does not inflate"):
        inflate(bomb, 1000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(bomb) < 3 * MEGABYTE
    assert peak < 16 * MEGABYTE
