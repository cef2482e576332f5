"""Text corpora: where they are found, and how they are cut into paragraphs and windows."""

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
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.types import Examples

DEBIAN = Path("/usr/share/doc/jargon-text/jargon.txt.gz")
NAMES = ("jargon.txt.gz", "jargon.txt")
SHARES = {"public": 0.52, "private": 0.33, "validation": 0.05, "audit": 0.05, "test": 0.05}
SHORT = 40  # a paragraph of fewer characters is a heading, and is joined to the next one


def find_files(given: str | None) -> list[Path]:
    """The files of a corpus: a file, all ``.txt`` and ``.txt.gz`` of a folder, or the Jargon File.

    Raises:
        MissingData: naming the package and the flag.
    """
    if given and Path(given).is_file():
        return [Path(given)]
    if given and Path(given).is_dir():
        paths = sorted(p for p in Path(given).rglob("*.txt*") if p.name.endswith((".txt", ".gz")))
        if paths:
            return paths
    elsewhere = os.environ.get("ROBUSTBENCH_KD_DATA")
    roots = [Path(elsewhere)] if elsewhere else []
    candidates = [root / name for root in (*roots, cache() / "data") for name in NAMES]
    for path in () if given else (*candidates, DEBIAN):
        if path.is_file():
            return [path]
    where = f"no text in {given}" if given else "the Jargon File is not here"
    raise MissingData(
        f"{where}: install Debian's package (apt-get install jargon-text), or name any text file "
        "or folder of .txt files by --data"
    )


def read_files(paths: Sequence[Path]) -> str:
    """The text of all files.

    Raises:
        MissingData: where one is no UTF-8 text.
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


def text_digest(text: str) -> str:
    """SHA-256 of the text."""
    return hashlib.sha256(text.encode()).hexdigest()


def paragraphs(text: str) -> list[str]:
    """One line a paragraph, without drawings; headings are joined to the paragraph below."""
    lines: list[str] = []
    heading = ""
    for block in re.split(r"\n\s*\n", text):
        line = " ".join(block.split())
        if not line or re.search("[\u2500-\u257f]", line):
            continue
        line = f"{heading} {line}".strip()
        heading = line if len(line) < SHORT else ""
        if not heading:
            lines.append(line)
    return lines + ([heading] if heading else [])


def split_text(text: str) -> dict[str, str]:
    """The paragraphs, one a line, assigned to the parts at random by ``SHARES`` of characters."""
    lines = paragraphs(text)
    order = torch.randperm(len(lines), generator=(Seed() / "text" / "deal").generator())
    total, length = sum(map(len, lines)), 0
    bounds = torch.tensor(list(SHARES.values())).cumsum(0).tolist()
    parts: dict[str, list[str]] = {name: [] for name in SHARES}
    for n in order.tolist():
        part = next((k for k, bound in enumerate(bounds) if length < bound * total), -1)
        parts[list(SHARES)[part]].append(lines[n])
        length += len(lines[n])
    return {name: "\n".join(part) + "\n" for name, part in parts.items()}


def windows(ids: Sequence[int], context: int, first: int) -> Examples:
    """A stream of tokens in windows; each token but the first is the target of exactly one.

    What is too short for a last window is dropped. The ids of the windows count up from ``first``.
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
