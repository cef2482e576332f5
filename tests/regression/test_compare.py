"""Two records, pair by pair: the gate's arithmetic, its refusals, and what it does not import."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import robustbench_kd
from records import PANEL, backdoor_record, canary_record, evasion_record, evasion_result, first
from robustbench_kd.cli.main import main
from robustbench_kd.core.errors import BadSetting, NotComparable
from robustbench_kd.regression.compare import expect_comparable
from robustbench_kd.regression.snapshot import snapshot
from robustbench_kd.results.record import Bits, Record
from robustbench_kd.results.store import (
    load_records,
    local_records,
    look_up,
    read_record,
    save_record,
)


def swapped(lost: int, won: int, count: int = 1000) -> tuple[list[bool], list[bool]]:
    """Two runs of which the second lost and won so many."""
    old, new = first(500, count), first(500, count)
    new[:lost] = [False] * lost
    new[500 : 500 + won] = [True] * won
    return old, new


def stored(tmp_path: Path, lost: int, won: int) -> tuple[str, str]:
    old, new = swapped(lost, won)
    paths = [
        save_record(evasion_record(name, flags), b"", tmp_path)
        for name, flags in (("a", old), ("b", new))
    ]
    return str(paths[0]), str(paths[1])


def test_a_loss_beyond_chance_is_a_regression_with_tangos_interval() -> None:
    old, new = (evasion_record("ard", flags) for flags in swapped(40, 20))
    comparison = robustbench_kd.compare(old, new)
    assert (comparison.lost, comparison.won, comparison.count) == (40, 20, 1000)
    assert comparison.drop == 0.02
    assert comparison.verdict == "regressed"
    assert (round(100 * comparison.low, 2), round(100 * comparison.high, 2)) == (0.50, 3.60)
    assert abs(comparison.p - 0.0049) < 1e-4
    exact = robustbench_kd.compare(old, new, test="exact")
    assert abs(exact.p - 0.0067) < 1e-4
    assert robustbench_kd.compare(old, new, margin=5).verdict == "changed"  # points


@pytest.mark.parametrize(
    ("lost", "won", "verdict"),
    [(4, 0, "changed"), (3, 0, "ok"), (0, 0, "ok")],
)
def test_four_lost_and_none_won_is_the_least_that_shows(lost: int, won: int, verdict: str) -> None:
    old, new = (evasion_record("ard", flags) for flags in swapped(lost, won))
    assert robustbench_kd.compare(old, new).verdict == verdict
    mirrored = robustbench_kd.compare(new, old).verdict
    assert mirrored == verdict.replace("changed", "improved")


def test_records_of_every_threat_are_compared_and_may_be_given_by_their_paths(
    tmp_path: Path,
) -> None:
    ranks, worse = [512] * 40, [256] * 20 + [16] * 20
    pairs = [
        (backdoor_record({"student": 20}), backdoor_record({"student": 45})),
        (canary_record({"student": ranks}), canary_record({"student": worse})),
    ]
    for old, new in pairs:
        paths = [save_record(record, b"", tmp_path) for record in (old, new)]
        comparison = robustbench_kd.compare(paths[0], paths[1])
        assert comparison == robustbench_kd.compare(old, str(paths[1]))
        assert comparison.verdict == "regressed-severe"
        assert robustbench_kd.compare(new, old).verdict == "improved"


def test_the_drop_of_numbers_is_the_mean_loss_in_their_unit() -> None:
    old = canary_record({"student": [64] * 16}, candidates=1024)  # 4 bits each
    new = canary_record({"student": [64] * 4 + [8] * 12}, candidates=1024)  # 7 bits
    comparison = robustbench_kd.compare(old, new)
    assert (comparison.lost, comparison.won, comparison.count) == (12, 0, 16)
    assert comparison.drop == pytest.approx(12 * 3 / 16)
    assert 0 < comparison.low < comparison.least < 2.25 < comparison.most < comparison.high
    assert comparison.margin == 0.5
    assert robustbench_kd.compare(old, new, margin=4).verdict == "changed"  # bits


def with_attacks(labels: tuple[str, ...]) -> Record:
    return evasion_record("b", dict.fromkeys(labels, 500))


@pytest.mark.parametrize(
    ("old", "other", "part"),
    [
        (evasion_record("a"), evasion_record("b", data={"ids": "j"}), "sample ids"),
        (evasion_record("a"), evasion_record("b", data={"examples": "y"}), "test data"),
        (evasion_record("a"), evasion_record("b", count=900), "numbers of samples"),
        (evasion_record("a"), evasion_record("b", board="digits-linf"), "leaderboards"),
        (evasion_record("a"), evasion_record("b", threat={"norm": "l2"}), "threats"),
        (evasion_record("a"), with_attacks(PANEL[1:3]), "endpoints"),
        (backdoor_record(), backdoor_record(attack="blend"), "attacks"),
        (canary_record({"student": (1, 2)}), canary_record({"student": (1,)}), "numbers of"),
        (
            canary_record({"student": (1, 2)}),
            canary_record({"student": (1, 2)}, formats=["digits", "words"]),
            "settings or samples of attacks",
        ),
    ],
    ids=["ids", "images", "count", "board", "threat", "panel", "attack", "canaries", "formats"],
)
def test_what_was_evaluated_on_something_else_is_not_comparable(
    old: Record, other: Record, part: str
) -> None:
    with pytest.raises(NotComparable, match=f"since they differ in their {part}"):
        robustbench_kd.compare(old, other)


def test_other_settings_of_an_attack_are_not_comparable() -> None:
    old = evasion_record("a")
    weak = evasion_result(500, settings={"eps": 0.1, "steps": 1})
    new = replace(old, attacks={**old.attacks, PANEL[-1]: weak})
    with pytest.raises(NotComparable, match=f"settings or samples of attacks.*{PANEL[-1]}"):
        robustbench_kd.compare(old, new)


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ({"alpha": 0}, "between 0 and one half"),
        ({"margin": -1}, "at least 0"),
        ({"margin": 100}, "below 100"),
        ({"test": "chi"}, "must be one of"),
    ],
)
def test_impossible_rules_are_refused(rules: dict[str, Any], words: str) -> None:
    with pytest.raises(BadSetting, match=words):
        robustbench_kd.compare(evasion_record("a"), evasion_record("b"), **rules)


@pytest.mark.parametrize(("lost", "won", "code"), [(40, 20, 1), (20, 40, 0), (3, 2, 0)])
def test_the_command_exits_1_on_a_loss_only(tmp_path: Path, lost: int, won: int, code: int) -> None:
    paths = stored(tmp_path, lost, won)
    ran = CliRunner().invoke(main, ["compare", *paths])
    assert ran.exit_code == code, ran.output
    assert f"lost {lost}, won {won} of 1000: a {'gain' if won > lost else 'drop'} of" in ran.output


def test_the_command_prints_json(tmp_path: Path) -> None:
    ran = CliRunner().invoke(main, ["compare", *stored(tmp_path, 40, 20), "--json"])
    body = json.loads(ran.stdout)
    assert (body["ok"], body["command"], body["verdict"]) == (True, "compare", "regressed")
    assert (body["lost"], body["won"], body["count"]) == (40, 20, 1000)
    assert body["unit"] == "percent"


def test_the_command_compares_committed_language_models_by_what_they_memorised() -> None:
    named = ["compare", "swing", "distillation:temperature=1", "--board", "text-privacy"]
    ran = CliRunner().invoke(main, named)
    assert ran.exit_code == 1, ran.output
    assert "old: swing, seed 0: exposure 3.69 [2.84, 4.84] bits of 63, test-nll 3.88" in ran.output
    assert "lost 42, won 16 of 63: a rise of 3.44 bits [1.7" in ran.output
    assert "63 samples can show a rise of" in ran.output
    better = CliRunner().invoke(main, [named[0], named[2], named[1], *named[3:]])
    assert better.exit_code == 0
    assert "a fall of 3.44 bits" in better.output


def test_the_command_exits_4_where_nothing_can_be_paired(tmp_path: Path) -> None:
    paths = [
        save_record(evasion_record(name, 5, count=count), b"", tmp_path)
        for name, count in (("a", 1000), ("b", 10))
    ]
    ran = CliRunner().invoke(main, ["compare", *map(str, paths), "--json"])
    assert ran.exit_code == 4
    assert json.loads(ran.stdout)["kind"] == "NotComparable"


def test_a_record_is_named_by_its_label_and_seed() -> None:
    for seed in (0, 1):
        save_record(evasion_record("net", 500 - seed, seed=seed), b"", local_records())
    assert look_up("net@1", "fashion-linf")[1].seed == 1
    ran = CliRunner().invoke(main, ["compare", "net", "net@1"])
    assert "lost 1, won 0" in ran.output
    missed = CliRunner().invoke(main, ["compare", "net", "nat@1"])
    assert missed.exit_code == 2
    assert "Did you mean 'net@1'?" in missed.output


def test_two_records_of_one_label_and_seed_are_distinguished_by_their_paths() -> None:
    for hits in (500, 400):
        save_record(evasion_record("net", hits), b"", local_records())
    with pytest.raises(BadSetting, match="2 records are about 'net'"):
        look_up("net", "fashion-linf")


def test_a_name_means_the_boards_own_ball_where_there_are_other_radii() -> None:
    wide = evasion_record("net", 3, weights="w", threat={"eps": 0.2})
    save_record(wide, b"", local_records())
    assert look_up("net", "fashion-linf")[1].threat["eps"] == 0.2
    save_record(evasion_record("net", 5, weights="w"), b"", local_records())
    assert look_up("net", "fashion-linf")[1].worst.hits == 5


def test_the_same_claim_has_the_same_file_whatever_time_it_took(tmp_path: Path) -> None:
    quick, slow = evasion_record("a", 5), evasion_record("a", 5, compute={"cpu_seconds": 9})
    assert quick.id != slow.id
    assert save_record(quick, b"", tmp_path) == save_record(slow, b"", tmp_path)
    assert [record.worst.hits for record in load_records(tmp_path)] == [5]


def test_comparing_imports_neither_torch_nor_pandas_nor_numpy(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from robustbench_kd.cli.main import main\n"
        "try: main()\n"
        "finally: print([m for m in ('torch', 'numpy', 'pandas') if m in sys.modules])"
    )
    canaries = [canary_record({"student": ranks}) for ranks in ((1, 5, 9), (2, 7, 8))]
    numbers = [str(save_record(record, b"", tmp_path)) for record in canaries]
    for paths in (stored(tmp_path, 1, 0), numbers):
        ran = subprocess.run(
            [sys.executable, "-c", code, "compare", *paths],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        assert ran.stdout.splitlines()[-1] == "[]"


def test_an_edited_record_is_refused(tmp_path: Path) -> None:
    path = Path(stored(tmp_path, 1, 0)[0])
    path.write_text(path.read_text().replace('"ones":500', '"ones":501', 1))
    ran = CliRunner().invoke(main, ["compare", str(path), str(path)])
    assert ran.exit_code == 2
    assert "damaged or edited" in ran.output
    with pytest.raises(Exception, match="damaged or edited"):
        read_record(path)


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"unit": "nats"}, "units"),
        ({"higher_is_better": True}, "directions"),
        ({"values": Bits.of([True, False])}, "kinds of values"),
    ],
)
def test_values_of_another_kind_are_not_comparable(changes: dict[str, Any], part: str) -> None:
    shot = snapshot(canary_record({"student": (1, 2)}))
    endpoints = {**shot.endpoints, "exposure": replace(shot.primary, **changes)}
    with pytest.raises(NotComparable, match=f"differ in their {part}: exposure"):
        expect_comparable(shot, replace(shot, endpoints=endpoints))
