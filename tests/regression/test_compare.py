"""Two records, pair by pair: the gate's arithmetic, its refusals, and what it does not import."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from ledger import PANEL, cell, first, made

import robustbench_kd
from robustbench_kd.cli.main import main
from robustbench_kd.core.errors import BadSetting, NotComparable
from robustbench_kd.results.store import kept, load_record, load_records, look_up, save_record


def swapped(lost: int, won: int, count: int = 1000) -> tuple[list[bool], list[bool]]:
    """Two runs of which the second lost and won so many."""
    old, new = first(500, count), first(500, count)
    new[:lost] = [False] * lost
    new[500 : 500 + won] = [True] * won
    return old, new


def stored(tmp_path: Path, lost: int, won: int) -> tuple[str, str]:
    old, new = swapped(lost, won)
    paths = [
        save_record(made(name, flags), b"", tmp_path) for name, flags in (("a", old), ("b", new))
    ]
    return str(paths[0]), str(paths[1])


def test_a_loss_beyond_chance_is_a_regression_with_tangos_interval() -> None:
    old, new = swapped(40, 20)
    found = robustbench_kd.compare(made("a", old), made("b", new))
    assert (found.lost, found.won, found.count, found.drop) == (40, 20, 1000, 0.02)
    assert found.verdict == "regressed"
    assert (round(100 * found.low, 2), round(100 * found.high, 2)) == (0.50, 3.60)
    assert abs(found.p - 0.0049) < 1e-4
    exact = robustbench_kd.compare(made("a", old), made("b", new), test="exact")
    assert abs(exact.p - 0.0067) < 1e-4
    assert robustbench_kd.compare(made("a", old), made("b", new), margin=0.05).verdict == "changed"


@pytest.mark.parametrize(
    ("lost", "won", "verdict"),
    [(4, 0, "changed"), (3, 0, "ok"), (0, 0, "ok")],
)
def test_four_lost_and_none_won_is_the_least_that_shows(lost: int, won: int, verdict: str) -> None:
    old, new = swapped(lost, won)
    assert robustbench_kd.compare(made("a", old), made("b", new)).verdict == verdict
    mirrored = robustbench_kd.compare(made("a", new), made("b", old)).verdict
    assert mirrored == verdict.replace("changed", "improved")


@pytest.mark.parametrize(
    "other",
    [
        {"data": {"examples": "x", "ids": "j", "count": 1000}},
        {"data": {"examples": "y", "ids": "i", "count": 1000}},
        {"board": "digits-linf"},
        {"threat": {"norm": "l2", "eps": 0.1}},
        {"cells": tuple(cell(attack, first(500)) for attack in PANEL[:3])},
    ],
    ids=["ids", "images", "board", "threat", "panel"],
)
def test_different_questions_are_not_comparable(other: dict[str, Any]) -> None:
    with pytest.raises(NotComparable, match="differ in their"):
        robustbench_kd.compare(made("a", first(500)), made("b", first(500), **other))


def test_other_settings_of_an_attack_are_not_comparable() -> None:
    weak = tuple(cell(attack, first(500)) for attack in PANEL)
    weak = (*weak[:-1], type(weak[-1])(**{**vars(weak[-1]), "settings": {"eps": 0.1, "steps": 1}}))
    with pytest.raises(NotComparable, match="settings of attacks"):
        robustbench_kd.compare(made("a", first(500)), made("b", first(500), cells=weak))


def test_an_impossible_alpha_is_refused() -> None:
    with pytest.raises(BadSetting, match="between 0 and one half"):
        robustbench_kd.compare(made("a", first(5)), made("b", first(5)), alpha=0)


@pytest.mark.parametrize(("lost", "won", "code"), [(40, 20, 1), (20, 40, 0), (3, 2, 0)])
def test_the_command_exits_1_on_a_loss_only(tmp_path: Path, lost: int, won: int, code: int) -> None:
    paths = stored(tmp_path, lost, won)
    ran = CliRunner().invoke(main, ["compare", *paths])
    assert ran.exit_code == code, ran.output
    assert f"lost {lost}, won {won} of 1000: a {'gain' if won > lost else 'drop'} of" in ran.output


def test_the_command_speaks_json(tmp_path: Path) -> None:
    ran = CliRunner().invoke(main, ["compare", *stored(tmp_path, 40, 20), "--json"])
    said = json.loads(ran.stdout)
    assert (said["ok"], said["command"], said["verdict"]) == (True, "compare", "regressed")
    assert (said["lost"], said["won"], said["count"]) == (40, 20, 1000)


def test_the_command_exits_4_where_nothing_can_be_paired(tmp_path: Path) -> None:
    one = save_record(made("a", first(5)), b"", tmp_path)
    other = save_record(made("b", first(5, 10)), b"", tmp_path)
    ran = CliRunner().invoke(main, ["compare", str(one), str(other), "--json"])
    assert ran.exit_code == 4
    assert json.loads(ran.stdout)["kind"] == "NotComparable"


def test_a_record_is_named_by_its_label_and_seed() -> None:
    for seed in (0, 1):
        save_record(made("net", first(500 - seed), seed=seed), b"", kept())
    assert look_up("net@1", "fashion-linf")[1].seed == 1
    ran = CliRunner().invoke(main, ["compare", "net", "net@1"])
    assert "lost 1, won 0" in ran.output
    missed = CliRunner().invoke(main, ["compare", "net", "nat@1"])
    assert missed.exit_code == 2
    assert "Did you mean 'net@1'?" in missed.output


def test_two_records_of_one_label_and_seed_are_told_apart_by_their_paths() -> None:
    for hits in (500, 400):
        save_record(made("net", first(hits)), b"", kept())
    with pytest.raises(BadSetting, match="2 records are about 'net'"):
        look_up("net", "fashion-linf")


def test_a_name_means_the_boards_own_ball_where_there_are_other_radii() -> None:
    wide = made("net", first(3), weights="w", threat={"norm": "linf", "eps": 0.2})
    save_record(wide, b"", kept())
    assert look_up("net", "fashion-linf")[1].threat["eps"] == 0.2
    save_record(made("net", first(5), weights="w"), b"", kept())
    assert look_up("net", "fashion-linf")[1].worst.hits == 5


def test_the_same_claim_has_the_same_file_whatever_time_it_took(tmp_path: Path) -> None:
    one, other = made("a", first(5)), made("a", first(5), spent={"cpu_seconds": 9})
    assert one.id != other.id
    assert save_record(one, b"", tmp_path) == save_record(other, b"", tmp_path)
    assert [record.worst.hits for record in load_records(tmp_path)] == [5]


def test_comparing_imports_neither_torch_nor_pandas_nor_numpy(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from robustbench_kd.cli.main import main\n"
        "try: main()\n"
        "finally: print([m for m in ('torch', 'numpy', 'pandas') if m in sys.modules])"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, "compare", *stored(tmp_path, 1, 0)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert ran.stdout.splitlines()[-1] == "[]"


def test_an_edited_record_is_refused(tmp_path: Path) -> None:
    path = Path(stored(tmp_path, 1, 0)[0])
    path.write_text(path.read_text().replace('"right": 500', '"right": 501', 1))
    ran = CliRunner().invoke(main, ["compare", str(path), str(path)])
    assert ran.exit_code == 2
    assert "damaged or edited" in ran.output
    with pytest.raises(Exception, match="damaged or edited"):
        load_record(path)
