"""Gates on records whose bits are given."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner, Result

from records import evasion_record, first
from robustbench_kd.cli.main import main
from robustbench_kd.regression.baseline import accepted
from robustbench_kd.regression.decision import Rules
from robustbench_kd.regression.gate import Gate, gate
from robustbench_kd.regression.pairing import Replayer, pairs
from robustbench_kd.regression.snapshot import Snapshot, snapshot
from robustbench_kd.results.store import save_record

COUNT = 1000


def flags_after(lost: int, won: int, count: int = COUNT) -> list[bool]:
    """Half of the answers are correct; then so many were lost and won."""
    half = count // 2
    return [*([False] * lost), *([True] * (half - lost)), *first(won, count - half)]


def shot(lost: int = 0, won: int = 0, label: str = "ard", weights: str = "") -> Snapshot:
    return snapshot(
        evasion_record(label, flags_after(lost, won), weights=weights or f"{lost} {won}")
    )


OLD = shot(weights="old")


def gate_on(new: Snapshot, old: Snapshot = OLD, replayer: Replayer | None = None) -> Gate:
    return gate(pairs(accepted([old], "x"), [new]), Rules(), replayer=replayer)


def run(*args: str | Path) -> Result:
    return CliRunner().invoke(main, [str(arg) for arg in args])


def save(folder: Path, lost: int, won: int = 0, label: str = "ard", count: int = COUNT) -> Path:
    """A record on disk."""
    record = evasion_record(label, flags_after(lost, won, count), weights=f"{lost} {won}")
    return save_record(record, b"", folder / f"{label}-{lost}-{won}")
