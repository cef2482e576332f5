"""One thread, checked shapes, and a cache of its own for every test."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import hypothesis
import pytest
import torch
from jaxtyping import install_import_hook

CHECKED = (
    "ops",
    "attacks",
    "defenses",
    "evaluation.scorers",
    "training.trainer",
    "models",
)

# Before anything of the package is imported: shapes and types are checked in every call of these
# modules, except where time is measured.
if "--benchmark-enable" not in sys.argv:
    install_import_hook([f"robustbench_kd.{module}" for module in CHECKED], "checking.checker")
torch.set_num_threads(int(os.environ.get("ROBUSTBENCH_KD_TEST_THREADS", "1")))
hypothesis.settings.register_profile("reproducible", derandomize=True, database=None, deadline=None)
hypothesis.settings.load_profile("reproducible")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh folder in place of the user's cache."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("ROBUSTBENCH_KD_CACHE", str(folder))
    return folder
