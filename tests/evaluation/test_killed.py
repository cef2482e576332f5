"""Kill -9, then the same command: finished work is not repeated, and the row is the same."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

STUDENT = ("--defense", "labels", "--seed", "7", "--board", "digits-linf", "--json")
# The third attack takes seconds: it is the one that is cut off.
PANEL = ("--attack", "fgsm", "--attack", "pgd:steps=150,restarts=5")


def start(folder: Path, *args: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "robustbench_kd.cli.main", *args],
        env={**os.environ, "ROBUSTBENCH_KD_CACHE": str(folder), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def kill_at(folder: Path, line: str, *args: str) -> None:
    """Starts the command, and kills it when stderr says this."""
    process = start(folder, *args)
    assert process.stderr is not None
    heard = []
    for said in process.stderr:
        heard.append(said)
        if re.match(line, said):
            process.kill()
            break
    process.communicate(timeout=60)
    assert process.returncode == -9, "".join(heard)


def finish(folder: Path, *args: str) -> tuple[Any, list[str]]:
    """The document of the whole command, and what it said on stderr."""
    process = start(folder, *args)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert not list(folder.rglob(".*.part"))
    return json.loads(out), err.splitlines()


def stamps(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


@pytest.mark.slow
def test_killed_work_is_taken_up_and_ends_with_the_same_bits(tmp_path: Path) -> None:
    cut, whole = tmp_path / "cut", tmp_path / "whole"
    kill_at(cut, r"\S*labels-student (19[0-9]|2\d\d)/380", "train", *STUDENT)
    assert list((cut / "progress").iterdir())
    assert not (cut / "nets").exists()
    taken_up, heard = finish(cut, "train", *STUDENT)
    first = re.search(r"(\d+)/380", heard[0])
    assert first is not None
    assert int(first[1]) > 150, "the finished epochs were trained again"
    assert not list((cut / "progress").iterdir())

    kill_at(cut, "pgd", "evaluate", *STUDENT, *PANEL)
    done = stamps(cut / "cells")
    assert len(done) == 2
    assert not (cut / "records").exists()
    row, _ = finish(cut, "evaluate", *STUDENT, *PANEL)
    assert stamps(cut / "cells").items() > done.items()
    expected, _ = finish(whole, "evaluate", "--train", *STUDENT, *PANEL)
    assert taken_up["weights"] == expected["record"]["model"]["weights"]
    for found in (row, expected):  # the time it took is no part of the claim
        found["record"].pop("spent")
        found["record"].pop("id")
        found["row"].pop("record")
        found["row"].pop("cpu_seconds")
        shutil.rmtree(Path(found.pop("path")).parent)
    assert row == expected
