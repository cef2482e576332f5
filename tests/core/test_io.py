"""What is on disk is written whole or not at all, and read or refused by name."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from robustbench_kd.core.errors import BadRecord, SaveFailed
from robustbench_kd.core.io import HOST, expect_writable, read_bytes, write_whole


def inside(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_a_file_is_written_and_its_folder_made(tmp_path: Path) -> None:
    write_whole(tmp_path / "a" / "b" / "file", b"one")
    write_whole(tmp_path / "a" / "b" / "file", b"two")
    assert (tmp_path / "a" / "b" / "file").read_bytes() == b"two"
    assert inside(tmp_path) == ["file"]


@pytest.mark.parametrize("step", ["write", "fsync", "replace"])
@pytest.mark.parametrize("old", [b"old", None], ids=["over an old file", "anew"])
def test_a_full_disk_leaves_the_old_file_or_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, old: bytes | None
) -> None:
    path = tmp_path / "file"
    if old is not None:
        path.write_bytes(old)

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    real_open = Path.open

    def opened(self: Path, *rest: Any, **named: Any) -> Any:
        file = real_open(self, *rest, **named)

        class Half:
            """Takes half of what is written, and then the disk is full."""

            def __enter__(self) -> Half:
                return self

            def __exit__(self, *_: object) -> None:
                file.close()

            def write(self, data: bytes) -> None:
                file.write(data[: len(data) // 2])
                file.flush()
                full()

        return Half()

    with monkeypatch.context() as patch:
        if step == "write":
            patch.setattr(Path, "open", opened)
        elif step == "fsync":
            patch.setattr(os, "fsync", full)
        else:
            patch.setattr(Path, "replace", full)
        with pytest.raises(SaveFailed, match=r"No space left on device.*free some space") as caught:
            write_whole(path, b"new content")
    assert caught.value.exit_code == 6
    assert str(path) in str(caught.value)
    assert inside(tmp_path) == ([] if old is None else ["file"])
    assert old is None or path.read_bytes() == old


def test_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("here")
    with pytest.raises(SaveFailed, match="taken"):
        write_whole(tmp_path / "taken" / "file", b"x")
    with pytest.raises(SaveFailed, match="not a folder"):
        expect_writable(tmp_path / "taken" / "deeper")
    expect_writable(tmp_path / "not" / "there" / "yet")
    assert inside(tmp_path) == ["taken"]


def part(name: str, pid: int, host: str = HOST) -> str:
    """A temporary name, as another writer has it."""
    return f".{name}.{host}.{pid}.0123abcd.part"


def test_parts_of_dead_processes_of_this_host_are_removed_and_no_others(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    living = part("other", os.getppid())
    elsewhere = part("far", dead.pid, "another-host")
    huge = part("huge", 10**22)
    for name in (part("old", dead.pid), living, elsewhere, huge, "visible.1.part"):
        (tmp_path / name).write_bytes(b"half")
    write_whole(tmp_path / "file", b"x")
    assert inside(tmp_path) == sorted([living, elsewhere, "file", "visible.1.part"])


def test_a_writer_killed_before_the_rename_leaves_no_file_and_its_part_goes_with_the_next_write(
    tmp_path: Path,
) -> None:
    code = (
        "import os, sys; from pathlib import Path; from robustbench_kd.core import io\n"
        "os.fsync = lambda number: os.kill(os.getpid(), 9)\n"
        "io.write_whole(Path(sys.argv[1]), b'x' * 999)"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(tmp_path / "file")], timeout=60)
    assert killed.returncode == -9
    assert len(inside(tmp_path)) == 1
    assert not (tmp_path / "file").exists()
    write_whole(tmp_path / "file", b"y")
    assert inside(tmp_path) == ["file"]


def test_writers_of_one_file_at_the_same_time_do_not_share_a_part(tmp_path: Path) -> None:
    contents = [bytes([n]) * 10_000 for n in range(8)]
    writers = [
        threading.Thread(target=write_whole, args=(tmp_path / "file", content))
        for content in contents
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert (tmp_path / "file").read_bytes() in contents
    assert inside(tmp_path) == ["file"]


def test_a_file_of_the_longest_name_can_be_written(tmp_path: Path) -> None:
    write_whole(tmp_path / ("n" * 255), b"x")
    assert inside(tmp_path) == ["n" * 255]


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadRecord, match=r"cannot read .*nowhere: No such file"):
        read_bytes(tmp_path / "nowhere", 10)
