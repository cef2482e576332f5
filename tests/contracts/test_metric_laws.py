"""Laws over all metrics of the registry."""

from __future__ import annotations

import subprocess
import sys

import pytest

from robustbench_kd.core.registry import board_of, configured, entries


@pytest.mark.parametrize("board", sorted(entries("leaderboards")))
def test_every_metric_of_a_leaderboard_can_be_configured(board: str) -> None:
    for text in board_of(board).metrics:
        assert configured("metrics", text).name == text.partition(":")[0]


def test_no_metric_loads_torch_or_numpy() -> None:
    modules = sorted(entry.module for entry in entries("metrics").values() if entry.ours)
    code = (
        f"import importlib, sys; [importlib.import_module(name) for name in {modules}]; "
        "print(sorted({'torch', 'numpy', 'scipy', 'pandas'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
