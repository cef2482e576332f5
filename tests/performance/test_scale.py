"""Ten thousand records are ranked in seconds, a site is built in half a minute, each alone."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from records import PANEL, evasion_record, evasion_result
from robustbench_kd.core.paths import shipped
from robustbench_kd.ops.statistics.bitset import text_of
from robustbench_kd.results.record import Bits, Record, digest
from robustbench_kd.results.store import load_records

COUNT = 10_000
SEEDS = 4  # of each student, so that there are 2,500 rows
LIKE = evasion_record()
# Each record is checked against the JSON Schema, which takes half a millisecond.
SECONDS, MEGABYTES = 8.0, 500.0
RANK = """
import json, pathlib, re, sys, time
from robustbench_kd.leaderboards.fashion_linf import FASHION_LINF
from robustbench_kd.reports.leaderboard import rank
from robustbench_kd.results.store import take_inventory
start = time.process_time()
inventory = take_inventory(sys.argv[1], "fashion-linf")
ranking = rank(FASHION_LINF, list(inventory.records.values()))
spent = time.process_time() - start
status = pathlib.Path("/proc/self/status").read_text()  # ru_maxrss counts the parent's pages
peak = int(re.search(r"VmHWM:\\s*(\\d+) kB", status)[1]) / 1024
counts = {"records": len(inventory.records), "refused": len(inventory.refused)}
print(json.dumps({**counts, "rows": len(ranking.rows), "seconds": spent, "megabytes": peak}))
"""


def random_record(number: int, dice: random.Random) -> Record:
    """A student of some strength, of whom each attack breaks a few more of a thousand examples."""
    easy, hard = dice.getrandbits(1000), dice.getrandbits(1000)
    left = dice.choice((easy, easy | hard, easy & hard))
    attacks = {}
    for attack in PANEL:
        flags = left if attack == "clean" else left & ~(1 << dice.randrange(1000))
        attacks[attack] = evasion_result(Bits(1000, text_of(flags, 1000)))
    label, seed = f"defense-{number // SEEDS}", number % SEEDS
    return replace(
        LIKE,
        defense={**LIKE.defense, "name": label, "label": label},
        models={"student": {**LIKE.student, "weights": digest([label, seed])}},
        seed=seed,
        attacks=attacks,
    )


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
def test_ten_thousand_records_are_ranked_in_eight_seconds_and_five_hundred_megabytes(
    tmp_path: Path,
) -> None:
    """CPU time, so that a busy machine is not held against it, and the peak of the whole process.

    Which loads no torch: that alone may map 500 MB.
    """
    folder, dice = tmp_path / "fashion-linf", random.Random(0)
    folder.mkdir()
    for number in range(COUNT):
        text = json.dumps(random_record(number, dice).json(), indent=1, sort_keys=True)
        (folder / f"{number:05}.json").write_text(text, encoding="utf-8")
    ran = subprocess.run(
        [sys.executable, "-c", RANK, str(tmp_path)], capture_output=True, text=True, check=True
    )
    result = json.loads(ran.stdout)
    assert (result["records"], result["rows"], result["refused"]) == (COUNT, COUNT // SEEDS, 0)
    assert result["seconds"] < SECONDS, result
    assert result["megabytes"] < MEGABYTES, result


def test_a_record_read_and_written_again_has_the_same_bytes(tmp_path: Path) -> None:
    """What is read quickly is what was written: digests and claims of old records stand."""
    full = {"clean": evasion_result([True] * 9)}
    record = evasion_record("a", [n % 3 > 0 for n in range(1000)], full_test=full)
    (tmp_path / "fashion-linf").mkdir()
    text = json.dumps(record.json(), indent=1, sort_keys=True)
    (tmp_path / "fashion-linf" / "a.json").write_text(text, encoding="utf-8")
    (again,) = load_records(tmp_path)
    assert again == record
    assert json.dumps(again.json(), indent=1, sort_keys=True) == text
    body = {k: v for k, v in json.loads(text).items() if k != "id"}
    assert again.id == digest(body)
    assert again.robust == record.robust


BUILD = """
import json, sys, time
from pathlib import Path
start = time.process_time()
from robustbench_kd.reports.loading import load_boards
from robustbench_kd.reports.static_site import build
gathered = load_boards([])
files = build(gathered.boards, Path(sys.argv[1]))
spent = time.process_time() - start
records = sum(len(board.entries) for board in gathered.boards)
print(json.dumps({"seconds": spent, "files": len(files), "records": records}))
"""


@pytest.mark.slow
def test_the_site_of_the_committed_boards_is_built_in_half_a_minute(tmp_path: Path) -> None:
    """CPU time, imports included, on one thread, by a process that kept nothing before."""
    room = {"ROBUSTBENCH_KD_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
    ran = subprocess.run(
        [sys.executable, "-c", BUILD, str(tmp_path / "site")],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **room},
    )
    result = json.loads(ran.stdout)
    assert result["records"] == len(list(shipped("records").rglob("*.json")))
    assert result["seconds"] < 30, result
    assert not (tmp_path / "cache").exists()  # all that is shown ships
