"""Kill -9, then the same command: finished work is not repeated, and the row is the same."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

STUDENT = ("--defense", "standard-training", "--seed", "7", "--board", "digits-linf", "--json")
# The third attack takes seconds: it is the one that is cut off.
PANEL = ("--attack", "fgsm", "--attack", "pgd:steps=150,restarts=5")


def start(folder: Path, *command: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "robustbench_kd.cli.main", *command],
        env={**os.environ, "ROBUSTBENCH_KD_CACHE": str(folder), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def kill_at(folder: Path, pattern: str, *command: str) -> None:
    """Starts the command, and kills it when a line of stderr matches the pattern."""
    process = start(folder, *command)
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(line)
        if re.match(pattern, line):
            process.kill()
            break
    process.communicate(timeout=60)
    assert process.returncode == -9, "".join(lines)


def finish(folder: Path, *command: str) -> tuple[Any, list[str]]:
    """The document of the whole command, and its lines on stderr."""
    process = start(folder, *command)
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    assert not list(folder.rglob(".*.part"))
    return json.loads(out), err.splitlines()


def modification_times(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


def without_time(evaluation: Any) -> Any:
    """The document without the time it took, which is no part of the claim, and without places."""
    (record,), (row,) = evaluation["records"], evaluation["rows"]
    del record["compute"], record["id"], row["cpu_seconds"]
    for seed in row["seeds"]:
        del seed["record"]
    paths = evaluation.pop("paths")
    return {**evaluation, "files": [Path(path).name for path in paths]}


@pytest.mark.slow
def test_killed_work_is_resumed_and_ends_with_the_same_bits(tmp_path: Path) -> None:
    interrupted, whole = tmp_path / "interrupted", tmp_path / "whole"
    kill_at(interrupted, r"\S*labels-student (19[0-9]|2\d\d)/380", "train", *STUDENT)
    assert list((interrupted / "progress").iterdir())
    assert not (interrupted / "nets").exists()
    trained, lines = finish(interrupted, "train", *STUDENT)
    step = re.search(r"(\d+)/380", lines[0])
    assert step is not None
    assert int(step[1]) > 150, "the finished epochs were trained again"
    assert not list((interrupted / "progress").iterdir())

    kill_at(interrupted, "pgd", "evaluate", *STUDENT, *PANEL)
    finished = modification_times(interrupted / "cells")
    assert len(finished) == 2
    assert not (interrupted / "records").exists()
    resumed, _ = finish(interrupted, "evaluate", *STUDENT, *PANEL)
    assert modification_times(interrupted / "cells").items() > finished.items()
    expected, _ = finish(whole, "evaluate", "--train", *STUDENT, *PANEL)
    assert trained["weights"] == expected["records"][0]["models"]["student"]["weights"]
    assert without_time(resumed) == without_time(expected)
