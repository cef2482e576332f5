"""Files written whole or not at all, and read or refused. Needs no torch."""

from __future__ import annotations

import os
import platform
import re
import secrets
import stat
import zlib
from contextlib import suppress
from pathlib import Path

from robustbench_kd.core.errors import BadRecord, SaveFailed

WAY_OUT = "free some space or name another folder by ROBUSTBENCH_KD_CACHE or --out"
MEGABYTE = 2**20
RECORD_LIMIT = 64 * MEGABYTE  # bytes of a record, or of a baseline of many students
EVIDENCE_LIMIT = 512 * MEGABYTE
WEIGHTS_LIMIT = 2**36  # of a network's file
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


def read_bytes(path: Path, limit: int, *, links: bool = False) -> bytes:
    """The bytes of a regular file; a pipe or a device is refused before it can block.

    Args:
        limit: the most bytes that it may have.
        links: follow a symbolic link; what ships may be installed as links.

    Raises:
        BadRecord: where it cannot be read, is no regular file, or is larger.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        if not links and path.is_symlink():
            raise BadRecord(f"{path} is a symbolic link; name the file itself")
        descriptor = os.open(path, flags)
        with open(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise BadRecord(f"{path} is no regular file")
            if status.st_size > limit:
                raise BadRecord(
                    f"{path} has {status.st_size:,} bytes, and such a file may have {limit:,}"
                )
            return file.read(status.st_size)
    except (OSError, ValueError) as why:  # a path may hold a null byte
        reason = getattr(why, "strerror", None) or why
        raise BadRecord(f"cannot read {path}: {reason}") from why


def inflate(raw: bytes, size: int) -> bytes:
    """What was deflated by zlib, if it is of this size: a few bytes can inflate to gigabytes.

    Raises:
        ValueError: where it is damaged, or of another size.
    """
    try:
        inflater = zlib.decompressobj()
        inflated = inflater.decompress(raw, size + 1)  # a limit of 0 would be none
    except zlib.error as why:
        raise ValueError(str(why)) from why
    if len(inflated) != size or not inflater.eof or inflater.unused_data:
        raise ValueError(f"it does not inflate to {size:,} bytes")
    return inflated
