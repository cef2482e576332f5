"""Text as it is found: where it lies, and how it is cut into paragraphs and windows."""

from __future__ import annotations

import gzip
import hashlib
import os
import re
from collections.abc import Sequence
from pathlib import Path

import torch

from robustbench_kd.core.errors import MissingData
from robustbench_kd.core.paths import cache
from robustbench_kd.core.types import Examples

DEBIAN = Path("/usr/share/doc/jargon-text/jargon.txt.gz")
NAMES = ("jargon.txt.gz", "jargon.txt")
SHORT = 40  # a paragraph of fewer characters is a heading, and goes with the next one


def find(given: str | None) -> list[Path]:
    """The files of the corpus: a file, all ``.txt`` and ``.txt.gz`` of a folder, or Debian's.

    Raises:
        MissingData: naming the package and the flag.
    """
    if given and Path(given).is_file():
        return [Path(given)]
    if given and Path(given).is_dir():
        found = sorted(p for p in Path(given).rglob("*.txt*") if p.name.endswith((".txt", ".gz")))
        if found:
            return found
    elsewhere = os.environ.get("ROBUSTBENCH_KD_DATA")
    roots = [Path(elsewhere)] if elsewhere else []
    places = [root / name for root in (*roots, cache() / "data") for name in NAMES]
    for path in () if given else (*places, DEBIAN):
        if path.is_file():
            return [path]
    where = f"no text in {given}" if given else "the Jargon File is not here"
    raise MissingData(
        f"{where}: install Debian's package (apt-get install jargon-text), or name any text file "
        "or folder of .txt files by --data"
    )


def read(paths: Sequence[Path]) -> str:
    """The text of all files.

    Raises:
        MissingData: where one is no UTF-8 text, or there is too little of it.
    """
    texts = []
    for path in paths:
        try:
            raw = path.read_bytes()
            raw = gzip.decompress(raw) if path.suffix == ".gz" else raw
            texts.append(raw.decode())
        except (OSError, EOFError, UnicodeDecodeError) as why:
            raise MissingData(f"{path} cannot be read as UTF-8 text: {why}") from why
    return "\n\n".join(texts)


def digest(text: str) -> str:
    """SHA-256 of the text."""
    return hashlib.sha256(text.encode()).hexdigest()


def paragraphs(text: str) -> list[str]:
    """One line a paragraph; drawings left out, headings joined to what they head."""
    found: list[str] = []
    waiting = ""
    for block in re.split(r"\n\s*\n", text):
        line = " ".join(block.split())
        if not line or re.search("[\u2500-\u257f]", line):
            continue
        line = f"{waiting} {line}".strip()
        waiting = line if len(line) < SHORT else ""
        if not waiting:
            found.append(line)
    return found + ([waiting] if waiting else [])


def windows(ids: Sequence[int], context: int, first: int) -> Examples:
    """A stream of tokens in windows: each predicts its own next tokens, and none is left out twice.

    What is too short for a last window is dropped.
    """
    count = max(0, (len(ids) - 1) // context)
    stream = torch.tensor(ids[: count * context + 1], dtype=torch.int64)
    if count == 0:
        empty = torch.zeros(0, context, dtype=torch.int64)
        return Examples(torch.zeros(0, dtype=torch.int64), empty, empty.clone())
    return Examples(
        torch.arange(first, first + count),
        stream[:-1].view(count, context).clone(),
        stream[1:].view(count, context).clone(),
    )
