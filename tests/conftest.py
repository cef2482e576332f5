"""One thread, checked shapes, and a cache of its own for every test."""

from __future__ import annotations

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
    "evaluation.scorer",
    "training.trainer",
    "models",
)

# Before anything of ours is imported: shapes and types of every call in these rooms are checked,
# but where seconds are to be told.
if "--benchmark-enable" not in sys.argv:
    install_import_hook([f"robustbench_kd.{room}" for room in CHECKED], "checking.checker")
torch.set_num_threads(1)
hypothesis.settings.register_profile("house", derandomize=True, database=None, deadline=None)
hypothesis.settings.load_profile("house")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh folder in place of the user's cache."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("ROBUSTBENCH_KD_CACHE", str(folder))
    return folder
