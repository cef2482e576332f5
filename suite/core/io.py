"""Files written whole or not at all, and read or refused. Needs no torch."""

from __future__ import annotations

import os
import platform
import re
import secrets
from contextlib import suppress
from pathlib import Path

from robustbench_kd.core.errors import BadRecord, SaveFailed

WAY_OUT = "free some space or name another folder by ROBUSTBENCH_KD_CACHE or --out"
HOST = re.sub(r"[^A-Za-z0-9-]+", "-", platform.node())[:40] or "host"
_swept: set[Path] = set()


def write_whole(path: Path, data: bytes) -> None:
    """Writes under a temporary name, syncs, renames; a crash leaves the old file or none.

    Processes of several hosts may write to one folder, and to one file of it.

    Raises:
        SaveFailed: where the folder or the disk refuses; nothing is left behind.
    """
    token = f"{HOST}.{os.getpid()}.{secrets.token_hex(4)}"
    part = path.parent / f".{path.name[:100]}.{token}.part"  # names have at most 255 bytes
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path.parent)
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as why:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise SaveFailed(f"could not write {path}: {why.strerror or why}; {WAY_OUT}") from why


def expect_writable(folder: Path) -> None:
    """Refuses a folder that cannot be written to, before anything is spent; makes nothing.

    Raises:
        SaveFailed: where the folder, or the nearest one above it that exists, is closed.
    """
    there = folder
    while not there.exists() and there != there.parent:
        if there.is_symlink():
            break
        there = there.parent
    if not there.is_dir():
        raise SaveFailed(f"could not write to {folder}: {there} is not a folder; {WAY_OUT}")
    if not os.access(there, os.W_OK | os.X_OK):
        raise SaveFailed(f"could not write to {folder}: {there} is read-only; {WAY_OUT}")


def _sweep(folder: Path) -> None:
    """Removes what killed processes of this host left under temporary names; once a folder."""
    if folder in _swept:
        return
    _swept.add(folder)
    for part in folder.glob(f".*.{HOST}.*.part"):
        name = re.search(rf"\.{re.escape(HOST)}\.(\d+)\.[0-9a-f]+\.part$", part.name)
        if name is None:
            continue
        try:
            os.kill(int(name[1]), 0)
        except (ProcessLookupError, OverflowError):
            part.unlink(missing_ok=True)
        except PermissionError:
            continue


def read_bytes(path: Path) -> bytes:
    """The bytes of a file.

    Raises:
        BadRecord: where it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as why:
        raise BadRecord(f"cannot read {path}: {why.strerror or why}") from why
