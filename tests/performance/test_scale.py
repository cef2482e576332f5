"""Ten thousand records fold in seconds, a site is built in half a minute; each in a process."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from ledger import PANEL, cell, made

from robustbench_kd.core.paths import shipped
from robustbench_kd.ops.statistics.bitset import text_of
from robustbench_kd.results.record import Cell, Record, digest, summed, worst_case
from robustbench_kd.results.store import load_records

COUNT = 10_000
SEEDS = 4  # of each student, so that there are 2,500 rows
LIKE = made("", [True] * 1000)
SECONDS, MEGABYTES = 5.0, 500.0
FOLD = """
import json, pathlib, re, sys, time
from robustbench_kd.leaderboards.fashion_linf import FASHION_LINF
from robustbench_kd.reports.leaderboard import fold
from robustbench_kd.results.store import take_stock
start = time.process_time()
stock = take_stock(sys.argv[1], "fashion-linf")
board = fold(FASHION_LINF, list(stock.records.values()))
spent = time.process_time() - start
status = pathlib.Path("/proc/self/status").read_text()  # ru_maxrss counts the parent's pages
peak = int(re.search(r"VmHWM:\\s*(\\d+) kB", status)[1]) / 1024
found = {"records": len(stock.records), "rows": len(board.rows), "refused": len(stock.refused)}
print(json.dumps({**found, "seconds": spent, "megabytes": peak}))
"""


def one(number: int, noise: random.Random) -> Record:
    """A student of some strength, of whom each attack breaks a few more of a thousand examples."""
    easy, hard = noise.getrandbits(1000), noise.getrandbits(1000)
    left = noise.choice((easy, easy | hard, easy & hard))
    cells = []
    for attack in PANEL:
        flags = left if attack == "untouched" else left & ~(1 << noise.randrange(1000))
        bits = text_of(flags, 1000)
        cells.append(Cell(attack, {"eps": 0.1}, 0, 1000, flags.bit_count(), bits, 7, 3))
    label, seed = f"defense-{number // SEEDS}", number % SEEDS
    return replace(
        LIKE,
        defense={"name": label, "label": label},
        model={**LIKE.model, "weights": digest([label, seed])},
        seed=seed,
        cells=tuple(cells),
        robust=summed(worst_case(cells)),
    )


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
def test_ten_thousand_records_fold_in_five_seconds_and_five_hundred_megabytes(
    tmp_path: Path,
) -> None:
    """CPU time, so that a busy machine is not held against it, and the peak of the whole process.

    Which loads no torch: that alone may map 500 MB.
    """
    folder, noise = tmp_path / "fashion-linf", random.Random(0)
    folder.mkdir()
    for number in range(COUNT):
        text = json.dumps(one(number, noise).json(), indent=1, sort_keys=True)
        (folder / f"{number:05}.json").write_text(text, encoding="utf-8")
    ran = subprocess.run(
        [sys.executable, "-c", FOLD, str(tmp_path)], capture_output=True, text=True, check=True
    )
    found = json.loads(ran.stdout)
    assert (found["records"], found["rows"], found["refused"]) == (COUNT, COUNT // SEEDS, 0)
    assert found["seconds"] < SECONDS, found
    assert found["megabytes"] < MEGABYTES, found


def test_a_record_read_and_written_again_has_the_same_bytes(tmp_path: Path) -> None:
    """What is read quickly is what was written: digests and claims of old records stand."""
    record = made("a", [n % 3 > 0 for n in range(1000)], wide=(cell("untouched", [True] * 9),))
    (tmp_path / "fashion-linf").mkdir()
    text = json.dumps(record.json(), indent=1, sort_keys=True)
    (tmp_path / "fashion-linf" / "a.json").write_text(text, encoding="utf-8")
    (again,) = load_records(tmp_path)
    assert again == record
    assert json.dumps(again.json(), indent=1, sort_keys=True) == text
    body = {k: v for k, v in json.loads(text).items() if k != "id"}
    assert again.id == digest(body)
    assert again.robust == summed(record.flags)


BUILD = """
import json, sys, time
from pathlib import Path
start = time.process_time()
from robustbench_kd.reports.loading import gather
from robustbench_kd.reports.static_site import build
found = gather([])
files = build(found.boards, Path(sys.argv[1]))
spent = time.process_time() - start
records = sum(len(facts.entries) for facts in found.boards)
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
    found = json.loads(ran.stdout)
    assert found["records"] == len(list(shipped("records").rglob("*.json")))
    assert found["seconds"] < 30, found
    assert not (tmp_path / "cache").exists()  # all that is shown ships
