"""Distributions with entry points, installed into a folder of a test."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

Points = Mapping[str, Mapping[str, str]]
"""Entry points: by kind and name, ``module:attribute``."""


def put(site: Path, points: Points, files: Mapping[str, str], name: str = "theirs") -> Path:
    """Installs a distribution into a folder: modules, and a dist-info with entry points."""
    (site / name).mkdir(parents=True)
    (site / name / "__init__.py").touch()
    for file, text in files.items():
        (site / name / file).write_text(text, encoding="utf-8")
    info = site / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = [
        f"[robustbench_kd.{kind}]\n" + "".join(f"{k} = {v}\n" for k, v in named.items())
        for kind, named in points.items()
    ]
    (info / "entry_points.txt").write_text("\n".join(lines))
    return site


def show(site: Path, patch: pytest.MonkeyPatch) -> None:
    """Puts an installed folder on the path of this process."""
    patch.syspath_prepend(str(site))
    importlib.invalidate_caches()


@contextmanager
def forgotten(*names: str) -> Iterator[None]:
    """Modules of these distributions that are imported meanwhile are forgotten afterwards."""
    before = set(sys.modules)
    yield
    for module in set(sys.modules) - before:
        if module.partition(".")[0] in names:
            del sys.modules[module]
