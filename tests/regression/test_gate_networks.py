"""The gate on networks that were really trained: retrainings, half the steps, a weaker attack."""

from __future__ import annotations

from pathlib import Path
from shutil import copytree

import pytest
from click.testing import CliRunner, Result

import robustbench_kd
from robustbench_kd.attacks.evasion.pgd import PGD
from robustbench_kd.cli.main import main
from robustbench_kd.core.errors import BadRecord
from robustbench_kd.regression.cross_replay import cross_replay
from robustbench_kd.regression.decision import Verdict
from robustbench_kd.results.store import evidence_path, load_records, read_record, record_path

BOARD = "digits-linf"
ATTACK = "pgd:steps=20"
COUNT = 120


def run(*args: str | Path) -> Result:
    return CliRunner().invoke(main, [str(arg) for arg in args])


@pytest.mark.parametrize(
    ("label", "old", "new", "lost", "won", "verdict"),
    [
        ("ard", 0, 1, 28, 14, "regressed"),
        ("ard", 0, 2, 17, 7, "changed"),
        ("ard", 1, 2, 17, 21, "ok"),
        ("rslad", 0, 1, 9, 19, "improved"),
        ("rslad", 0, 2, 49, 5, "regressed-severe"),
        ("adversarial-training", 0, 1, 25, 37, "ok"),
        ("adversarial-training", 1, 0, 37, 25, "inconclusive"),
        ("standard-training", 0, 1, 0, 0, "ok"),
    ],
)
def test_an_identical_retraining_is_judged_as_the_network_it_is(
    label: str, old: int, new: int, lost: int, won: int, verdict: Verdict
) -> None:
    """Seeds of the committed board: a network that lost more than chance says so.

    That is about the networks: another seed of the same method may be really less robust.
    """
    records = {r.seed: r for r in load_records(board="fashion-linf") if r.label == label}
    comparison = robustbench_kd.compare(records[old], records[new])
    assert (comparison.lost, comparison.won, comparison.verdict) == (lost, won, verdict)
    ran = run("compare", f"{label}@{old}", f"{label}@{new}")
    assert "the verdict is about these two networks, not their method" in ran.stdout
    assert ran.exit_code == int(verdict.startswith("regressed"))


@pytest.mark.parametrize(
    ("label", "old", "new", "verdict"),
    [
        ("distillation:temperature=1", 0, 1, "ok"),
        ("distillation:temperature=1", 1, 2, "inconclusive"),
        ("distillation:hard=generated", 1, 2, "inconclusive"),
        ("swing", 0, 1, "ok"),
    ],
)
def test_a_language_model_that_was_trained_again_did_not_memorise_more(
    label: str, old: int, new: int, verdict: Verdict
) -> None:
    """No pair of the committed seeds differs by more than chance; 63 canaries show little less."""
    records = {r.seed: r for r in load_records(board="text-privacy") if r.label == label}
    assert robustbench_kd.compare(records[old], records[new]).verdict == verdict


@pytest.fixture(autouse=True)
def without_sanity_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are tested elsewhere, and take longer than all else here."""
    monkeypatch.setattr(
        "robustbench_kd.evaluation.sanity.gradient_checks", lambda *args: ({}, frozenset())
    )


def evaluated(defense: str, out: Path, attack: str = ATTACK) -> Path:
    """A record of a student that ships, under one attack."""
    (record,) = robustbench_kd.evaluate(
        defense, board=BOARD, attacks=(attack,), limit=COUNT, out=out
    )
    return record_path(record, out)


def weaken(patch: pytest.MonkeyPatch, cache: Path) -> None:
    """From here on PGD submits the clean inputs, under the same name and settings."""
    patch.setattr(PGD, "perturb", lambda self, logits, x, goal, seed: (x, {}))
    patch.setenv("ROBUSTBENCH_KD_CACHE", str(cache))


def test_a_weaker_attack_is_distinguished_from_a_stronger_defense(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, before = tmp_path / "b.json", evaluated("distillation", tmp_path / "before")
    saved = run("baseline", "save", before, "--baseline", path, "--reason", "x")
    assert saved.exit_code == 0, saved.output
    weaken(monkeypatch, tmp_path / "other")
    same, other = (
        evaluated(defense, tmp_path / defense) for defense in ("distillation", "standard-training")
    )
    replayed = ("--replay", "--evidence", tmp_path / "before")

    # The same weights: no replay is needed, and a replay of what broke them confirms it.
    # Other weights look better by their own panel, until they are shown the older inputs.
    for record, more, code, words in (
        (same, (), 1, "FAILED: attack-weakened"),
        (same, replayed, 1, "FAILED: attack-weakened"),
        (other, (), 0, "passed: improved"),
        (other, replayed, 1, "FAILED: attack-weakened"),
    ):
        ran = run("gate", record, "--baseline", path, *more)
        assert (ran.exit_code, ran.stdout[: len(words)]) == (code, words), ran.output

    # Without the older record both sides cannot be queried alike, and the gate says so.
    ran = run("gate", other, "--baseline", path, "--replay")
    assert "not replayed: the older record" in ran.stdout


def test_both_networks_are_queried_alike(tmp_path: Path) -> None:
    weak = "pgd:steps=1,step=0.02"  # leaves much to luck
    defenses = ("standard-training", "distillation")
    paths = [evaluated(defense, tmp_path / defense, weak) for defense in defenses]
    old, new = paths
    replay, mirrored = cross_replay(old, new, 2), cross_replay(new, old, 2)
    assert (replay.old, replay.new) == (mirrored.new, mirrored.old)
    assert replay.missed == mirrored.missed[::-1]
    assert replay.dissolved == mirrored.dissolved[::-1]
    for path, left, missed, fell in zip(
        paths, (replay.old, replay.new), replay.missed, replay.dissolved, strict=True
    ):
        flags = read_record(path).robust.flags
        assert all(before or not after for before, after in zip(flags, left, strict=True))
        assert sum(flags) - sum(left) == missed + fell
    assert sum(replay.dissolved) > 0
    assert cross_replay(old, new).dissolved == (0, 0)


@pytest.mark.parametrize("harm", ["gone", "changed"])
def test_damaged_evidence_is_refused_by_name(tmp_path: Path, harm: str) -> None:
    path = evaluated("ard", tmp_path / "a")
    copytree(tmp_path / "a", tmp_path / "b")
    copy = tmp_path / "b" / BOARD / path.name
    evidence = evidence_path(read_record(copy), copy)
    assert evidence is not None
    if harm == "gone":
        evidence.unlink()
    else:
        evidence.write_bytes(evidence.read_bytes()[:-1] + b"x")
    with pytest.raises(BadRecord, match=str(evidence.stem)):
        cross_replay(path, copy)


def test_a_backdoored_student_is_not_replayed_and_the_gate_says_so() -> None:
    named = ("badnets/distillation", "badnets/nad", "--board", "fashion-backdoor", "--replay")
    ran = run("compare", *named)
    assert "not replayed: only attacks on test data store inputs" in ran.stdout


@pytest.mark.slow
def test_half_the_inner_steps_are_caught() -> None:
    """ARD on the digits, two inner steps for five; the student with five ships."""
    (old,) = robustbench_kd.evaluate("ard", board=BOARD, attacks=(ATTACK,))
    (half,) = robustbench_kd.evaluate("ard:steps=2", board=BOARD, attacks=(ATTACK,), train=True)
    comparison = robustbench_kd.compare(old, half)
    assert comparison.verdict == "regressed-severe"
    assert comparison.lost > 3 * comparison.won
