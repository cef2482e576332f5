"""One evaluation on poisoned digits, really trained, whose models several tests look at."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from short_boards import put_short_board

import robustbench_kd
from robustbench_kd.results.record import Record
from robustbench_kd.results.store import load_records

BOARD = "digits-backdoor"
ATTACK = "badnets:size=2"
TEACHER = "teacher-clean"
COPIES = 120  # poisoned images: the usual rate of a tenth


def evaluated(defense: str = "distillation", **options: Any) -> Record:
    """The record of a defense on the short leaderboard, trained where it is not stored."""
    options = {"board": BOARD, "train": True, **options}
    (record,) = robustbench_kd.evaluate(defense, **options)
    return record


@cache
def trained_cache() -> Path:
    """A cache after one evaluation of distillation: its models, its poison and its record."""
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROBUSTBENCH_KD_CACHE", str(folder / "cache"))
        put_short_board(patch)
        evaluated()
    return folder / "cache"


def put_trained(own_cache: Path, patch: pytest.MonkeyPatch) -> Record:
    """The record of that evaluation, whose models are put in the cache of a test."""
    put_short_board(patch)
    shutil.copytree(trained_cache(), own_cache)
    (record,) = load_records(own_cache / "records")
    return record
