"""The gate: every verdict and every code, and what it takes to be fooled."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from gates import COUNT, OLD, flags_after, gate_on, run, save, shot

from records import PANEL, evasion_record
from robustbench_kd.core.errors import NothingEvaluated
from robustbench_kd.regression.baseline import accepted, save_baseline
from robustbench_kd.regression.decision import CrossReplay, Rules
from robustbench_kd.regression.gate import gate
from robustbench_kd.regression.pairing import Replayer, pairs
from robustbench_kd.regression.snapshot import Snapshot, snapshot
from robustbench_kd.results.store import local_records, save_record


@pytest.fixture
def baseline(tmp_path: Path) -> Path:
    path = tmp_path / "baseline.json"
    save_baseline(accepted([OLD], "x"), path)
    return path


CODES = [
    (0, 0, (), 0, "ok"),
    (4, 0, (), 0, "changed"),
    (0, 30, (), 0, "improved"),
    (28, 14, (), 1, "regressed"),
    (60, 10, (), 1, "regressed-severe"),
    (60, 10, ("--margin", "12"), 0, "changed"),
    (60, 10, ("--margin", "robust=12pp,clean=1"), 0, "changed"),
    (60, 10, ("--margin", "robust-accuracy=12,exposure=0.5"), 0, "changed"),
    (60, 10, ("--margin", "exposure=12"), 1, "regressed-severe"),
    (28, 14, ("--strict-margin",), 0, "inconclusive"),
    (28, 14, ("--strict-margin", "--on-inconclusive", "fail"), 3, "inconclusive"),
    (50, 40, (), 0, "inconclusive"),
    (50, 40, ("--on-inconclusive", "fail"), 3, "inconclusive"),
    (28, 14, ("--alpha", "0.001"), 0, "inconclusive"),
]


@pytest.mark.parametrize(("lost", "won", "more", "code", "verdict"), CODES)
def test_each_verdict_has_its_code(
    lost: int,
    won: int,
    more: tuple[str, ...],
    code: int,
    verdict: str,
    baseline: Path,
    tmp_path: Path,
) -> None:
    ran = run("gate", save(tmp_path, lost, won), "--baseline", baseline, "--json", *more)
    assert ran.exit_code == code, ran.output
    body = json.loads(ran.stdout)
    assert (body["verdict"], body["exit_code"], body["command"]) == (verdict, code, "gate")
    primary = next(f for f in body["findings"] if f["role"] == "primary")
    assert (primary["numbers"]["lost"], primary["numbers"]["won"]) == (lost, won)
    assert primary["numbers"]["detectable"] > 0
    assert primary["lost"] == list(range(lost))


def test_the_same_weights_that_are_suddenly_robust_mean_a_weaker_attack() -> None:
    result = gate_on(shot(0, 30, weights="old"))
    assert (result.verdict, result.code) == ("attack-weakened", 1)
    assert "broke 0 more and missed 30" in result.primary[0].notes[0]
    assert gate_on(shot(0, 30)).verdict == "improved"  # other weights may well be better


def test_the_same_weights_that_lose_more_met_a_stronger_attack_and_pass() -> None:
    result = gate_on(shot(60, 5, weights="old"))
    assert (result.verdict, result.code) == ("ok", 0)
    assert "broke 60 more and missed 5" in result.primary[0].notes[0]
    assert gate_on(shot(5, 5, weights="old")).verdict == "ok"  # luck on either side


def replayed(missed: tuple[int, int], old: Sequence[bool], new: Sequence[bool]) -> Replayer:
    return lambda a, b: CrossReplay(tuple(old), tuple(new), missed, (0, 0), 0)


def test_an_attack_that_hides_a_loss_is_found_by_what_broke_the_older_network() -> None:
    new = shot(10, 10)
    assert gate_on(new).code == 0
    result = gate_on(new, replayer=replayed((0, 25), flags_after(0, 0), flags_after(35, 10)))
    assert (result.verdict, result.code) == ("attack-weakened", 1)
    fair = gate_on(new, replayer=replayed((3, 4), flags_after(0, 0), flags_after(10, 10)))
    assert fair.verdict == "ok"
    assert "break 3 of the old network's and 4 of the new one's" in fair.primary[0].notes[0]


def test_pairs_that_dissolve_are_not_counted() -> None:
    new = shot(28, 14)
    assert gate_on(new).verdict == "regressed"
    result = gate_on(new, replayer=replayed((0, 0), flags_after(0, 0), flags_after(10, 9)))
    assert result.verdict == "ok"
    finding = result.primary[0]
    assert finding.numbers is not None
    assert (finding.numbers.lost, finding.numbers.won) == (10, 9)


def test_a_missing_replay_is_noted_and_the_bits_decide() -> None:
    result = gate_on(shot(60, 5), replayer=lambda old, new: "not replayed: it is gone")
    assert result.verdict == "regressed-severe"
    assert result.primary[0].notes == ("not replayed: it is gone",)


def test_a_drop_since_the_anchor_fails_though_the_last_step_was_small(tmp_path: Path) -> None:
    drifted = accepted([OLD], "x").updated([shot(30)], "y")
    result = gate(pairs(drifted, [shot(33)]), Rules())
    verdicts = {finding.against: finding.verdict for finding in result.primary}
    assert verdicts == {"previous": "ok", "anchor": "regressed-severe"}
    assert result.code == 1
    only = gate(pairs(drifted, [shot(33)], "previous"), Rules())
    assert (only.code, len(only.primary)) == (0, 1)
    assert len(gate_on(shot(33)).primary) == 1  # an anchor that is the previous one is tested once


def test_many_students_are_tested_by_holms_values() -> None:
    olds = [shot(label=f"d{n}") for n in range(12)]
    news = [shot(28 if n == 0 else 9, 14 if n == 0 else 10, label=f"d{n}") for n in range(12)]
    assert gate_on(news[0], olds[0]).verdict == "regressed"  # p = 0.016
    result = gate(pairs(accepted(olds, "x"), news), Rules())
    assert result.code == 0
    finding = next(f for f in result.primary if "/d0@" in f.entry)
    assert finding.numbers is not None
    assert finding.numbers.p == pytest.approx(12 * 0.0158, rel=0.05)


def test_clean_accuracy_trips_only_beyond_its_margin_and_a_single_attack_never() -> None:
    def with_clean(lost: int) -> Snapshot:
        clean = [True] * (COUNT - lost) + [False] * lost  # from those that no attack left
        return snapshot(evasion_record("ard", flags_after(0, 0), clean=clean, weights=str(lost)))

    assert gate_on(with_clean(12), with_clean(0)).code == 0
    result = gate_on(with_clean(40), with_clean(0))
    assert (result.verdict, result.code) == ("regressed-severe", 1)
    assert result.findings[0].role == "utility"

    panel = {attack: flags_after(60, 0) for attack in PANEL[1:]}
    old = snapshot(evasion_record("ard", {**panel, "fgsm": flags_after(0, 0)}))
    new = snapshot(evasion_record("ard", panel, weights="w"))
    finding = next(f for f in gate_on(new, old).findings if f.endpoint == "fgsm")
    assert (finding.verdict, finding.trips) == ("regressed-severe", False)
    assert gate_on(new, old).code == 0


@pytest.mark.parametrize(("more", "code"), [((), 4), (("--on-missing", "warn"), 0)])
def test_a_student_that_vanished_is_new_or_has_other_samples_is_not_comparable(
    more: tuple[str, ...], code: int, tmp_path: Path
) -> None:
    path = tmp_path / "b.json"
    other = snapshot(evasion_record("rslad", flags_after(0, 0)))
    save_baseline(accepted([OLD, other], "x"), path)
    ard, rslad, new = (
        save(tmp_path, 0),
        save(tmp_path, 0, label="rslad"),
        save(tmp_path, 0, 0, "z"),
    )
    for given, words in (
        ((ard,), "no record is about fashion-linf/rslad@0 of the baseline"),
        ((ard, rslad, new), "fashion-linf/z@0 is not in the baseline"),
        ((ard, save(tmp_path, 0, 0, "rslad", 500)), "differ in their numbers of samples"),
    ):
        ran = run("gate", *given, "--baseline", path, *more)
        assert ran.exit_code == code, ran.output
        assert words in ran.stdout
        assert "not-comparable" in ran.stdout.splitlines()[0]


def test_a_regression_and_a_missing_student_give_the_higher_code(tmp_path: Path) -> None:
    path = tmp_path / "b.json"
    save_baseline(accepted([OLD, shot(label="rslad")], "x"), path)
    ran = run("gate", save(tmp_path, 60), "--baseline", path, "--json")
    assert ran.exit_code == 4
    body = json.loads(ran.stdout)
    assert body["verdict"] == "regressed-severe"
    assert body["headline"].startswith(
        "FAILED: regressed-severe: fashion-linf/ard@0 robust-accuracy"
    )
    assert "not-comparable" in {finding["verdict"] for finding in body["findings"]}


def test_the_verdict_is_what_the_gate_fails_by_and_no_warning(tmp_path: Path) -> None:
    path = tmp_path / "b.json"
    save_baseline(accepted([OLD, shot(label="rslad")], "x"), path)
    warned = ("--on-missing", "warn", "--on-inconclusive", "fail", "--json")
    ran = run("gate", save(tmp_path, 50, 40), "--baseline", path, *warned)
    body = json.loads(ran.stdout)
    assert (ran.exit_code, body["verdict"]) == (3, "inconclusive")
    assert body["headline"].startswith("FAILED: inconclusive: fashion-linf/ard@0 robust-accuracy")


def test_without_records_the_newest_on_this_machine_are_result(baseline: Path) -> None:
    refused = run("gate", "--baseline", baseline)
    assert (refused.exit_code, "evaluate" in refused.stderr) == (5, True)
    for lost, when in ((60, 1), (0, 2)):
        record = evasion_record("ard", flags_after(lost, 0), weights=str(lost))
        path = save_record(record, b"", local_records())
        os.utime(path, (when, when))
    assert run("gate", "--baseline", baseline).exit_code == 0
    os.utime(path, (0, 0))
    assert run("gate", "--baseline", baseline).exit_code == 1


def test_nothing_to_judge_is_an_error() -> None:
    with pytest.raises(NothingEvaluated):
        gate([], Rules())


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (("--baseline", "gone.json"), 4, "baseline save RECORD... --baseline gone.json"),
        (("--margin", "two"), 2, "a number, such as 2 (points of a share), not 'two'"),
        (("--margin", "robust=x"), 2, "a number, such as 2 (points of a share), not 'x'"),
        (("--margin", "asr=2"), 2, "no metric named 'asr'"),
        (("--margin", "robust-acuracy=2"), 2, "Did you mean 'robust-accuracy'?"),
        (("--margin", "200"), 2, "at least 0 and below 100"),
        (("--margin", "robust-accuracy=-1"), 2, "a number of at least 0"),
        (("--alpha", "1"), 2, "between 0 and one half"),
        (("--out", "html=x"), 2, "--out is FORM=FILE"),
        (("--out", "json"), 2, "--out is FORM=FILE"),
        (("--out", "json=baseline.json/x"), 6, "is not a folder"),
        (("--replay", "--evidence", "gone"), 2, "there is no folder gone"),
    ],
)
def test_refusals_are_one_sentence(
    args: tuple[str, ...],
    code: int,
    words: str,
    baseline: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    record = save(tmp_path, 0)
    monkeypatch.chdir(tmp_path)
    given = args if "--baseline" in args else (*args, "--baseline", baseline.name)
    ran = run("gate", record, *given)
    assert ran.exit_code == code, ran.output
    assert words in ran.stderr
    assert (len(ran.stderr.splitlines()), ran.stdout) == (1, "")


def test_the_gate_imports_neither_torch_nor_pandas_nor_numpy(
    baseline: Path, tmp_path: Path
) -> None:
    code = (
        "import sys\n"
        "from robustbench_kd.cli.main import main\n"
        "try: main()\n"
        "finally: print([m for m in ('torch', 'numpy', 'pandas', 'rich') if m in sys.modules])"
    )
    command = ["gate", str(save(tmp_path, 1)), "--baseline", str(baseline)]
    ran = subprocess.run(
        [sys.executable, "-c", code, *command],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert ran.stdout.splitlines()[-1] == "[]"
