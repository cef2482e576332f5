"""Where things lie: what ships with the package, and what is kept between runs."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path


def cache() -> Path:
    """The folder of everything that is kept: ``ROBUSTBENCH_KD_CACHE``, or the user's cache."""
    given = os.environ.get("ROBUSTBENCH_KD_CACHE")
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "robustbench-kd"


def is_shipped(path: Path) -> bool:
    """Whether a file lies in the installed package, which may be installed as links."""
    return path.absolute().is_relative_to(shipped("").absolute())


def shipped(part: str) -> Path:
    """A folder of the installed package: ``records`` or ``students``."""
    spec = find_spec("robustbench_kd.leaderboards")
    folders = list(spec.submodule_search_locations or ()) if spec else []
    return Path(folders[0]) / part if folders else Path(part)
