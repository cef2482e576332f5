"""The scenario ``private-text`` on a tiny corpus, with tiny models."""

from __future__ import annotations

from pathlib import Path

from speech import checkpoint, corpus

from robustbench_kd.scenarios.private_text import PrivateText


def small_text(folder: Path, **model: object) -> PrivateText:
    """A scenario of its own in this folder; ``model`` are the arguments of ``checkpoint``."""
    (folder / "text.txt").write_text(corpus())
    path = checkpoint(folder / "model", **model)  # type: ignore[arg-type]
    return PrivateText(str(folder / "text.txt"), path, path)
