"""Attacks that share one training set, from end to end: on images, and on anybody's checkpoints."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import robustbench_kd
from robustbench_kd.attacks.privacy.canary_exposure import CanaryExposure
from robustbench_kd.core.config import AdamW, Schedule
from robustbench_kd.core.errors import BadRecord, MissingData
from robustbench_kd.core.registry import board_of, configured
from robustbench_kd.core.seed import Seed
from robustbench_kd.leaderboards import digits_privacy, text_privacy
from robustbench_kd.metrics.chance_p import ChanceP
from robustbench_kd.metrics.exposure import Exposure
from robustbench_kd.metrics.first_ranked import FirstRanked
from robustbench_kd.results.groups import SeedGroup
from robustbench_kd.results.record import Column, Record
from robustbench_kd.results.store import save_record
from robustbench_kd.scenarios.digits import Digits

BOARD = "digits-privacy"
CANARIES, MEMBERSHIP = board_of(BOARD).attacks
TEACHER = "teacher-clean"
SHORT = Schedule(epochs=6, batch=64)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache for the tests that look at one run."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def record(shared: Path, monkeypatch: pytest.MonkeyPatch) -> Record:
    """Distillation on digits with mislabelled canaries; trained by the first test that asks."""
    short = replace(
        digits_privacy.DIGITS_PRIVACY, schedule=SHORT, teacher_schedules={"clean": SHORT}
    )
    monkeypatch.setattr(digits_privacy, "DIGITS_PRIVACY", short)
    monkeypatch.setenv("ROBUSTBENCH_KD_CACHE", str(shared))
    (record,) = robustbench_kd.evaluate("distillation", board=BOARD, train=True)
    return record


def test_canaries_of_many_repetitions_are_memorized_and_those_never_inserted_are_not(
    record: Record,
) -> None:
    group = SeedGroup((record,))
    often, never = (Exposure(TEACHER, repetitions=n)(group) for n in (16, 0))
    assert often is not None
    assert never is not None
    assert often.value > never.value + 1
    assert min(p.value for p in ChanceP().breakdown(group).values() if p is not None) > 0.01
    ranks = record.numbers(CANARIES, TEACHER, "rank")
    repetitions = record.result(CANARIES).samples["repetitions"]
    of_16 = [rank for rank, n in zip(ranks, repetitions, strict=True) if n == 16]
    first = FirstRanked().breakdown(group)["teacher-clean/repetitions=16"]
    assert first is not None
    assert (first.hits, first.count) == (of_16.count(1), len(of_16))


def test_canaries_of_images_are_ranked_among_those_that_were_never_inserted(record: Record) -> None:
    repetitions = record.result(CANARIES).samples["repetitions"]
    never = repetitions.count(0)
    assert {n: repetitions.count(n) for n in (1, 4, 16)} == {1: 6, 4: 6, 16: 6}
    for role in record.models:
        candidates = record.numbers(CANARIES, role, "candidates")
        assert candidates == tuple(float(never + (n > 0)) for n in repetitions)


def test_members_are_known_by_their_repetitions_and_scored_by_every_method(record: Record) -> None:
    result = record.result(MEMBERSHIP)
    members = result.samples["repetitions"]
    assert set(members) == {0, 1}
    assert sum(members) == len(members) // 2
    assert set(result.columns["student"]) == {
        "score",
        "score_reference",
        "score_lira",
        "score_rmia",
    }


def test_all_attacks_poison_one_training_set_and_meet_the_same_models(record: Record) -> None:
    inserted = sum(record.result(CANARIES).samples["repetitions"])
    inserted += sum(record.result(MEMBERSHIP).samples["repetitions"])
    assert record.poison["count"] == inserted
    assert record.threat == {"capability": "shared_train_data"}
    assert set(record.models) == {"student", "control", TEACHER}
    for result in record.attacks.values():
        assert set(result.columns) == set(record.models)
    clean = record.attacks["clean"]
    assert clean.samples["tokens"] == [1] * 500
    assert set(clean.columns["student"]) == {"test_nll"}


def test_the_same_run_makes_the_same_claim(record: Record) -> None:
    (again,) = robustbench_kd.evaluate("distillation", board=BOARD)
    assert again.claim == record.claim


def test_every_metric_of_the_leaderboard_has_a_value_or_says_why_not(record: Record) -> None:
    group = SeedGroup((record,))
    for text in board_of(BOARD).metrics:
        metric = configured("metrics", text)
        assert metric.available(record)
        assert metric(group) is not None or metric.why_none(group)


def test_a_sound_record_is_confirmed(record: Record, tmp_path: Path) -> None:
    for verification in (robustbench_kd.verify(record), verified(record, tmp_path)):
        assert verification.models == 3
        assert verification.marginal == 0
        columns = [
            c for r in record.attacks.values() for m in r.columns.values() for c in m.values()
        ]
        assert verification.values == sum(map(length, columns))


def length(column: Column) -> int:
    return len(column) if isinstance(column, tuple) else column.count


def verified(record: Record, folder: Path) -> Any:
    return robustbench_kd.verify(save_record(record, b"", folder))


def with_result(record: Record, attack: str, **changes: Any) -> Record:
    """The record, whose result of one attack is another."""
    result = replace(record.attacks[attack], **changes)
    return replace(record, attacks={**record.attacks, attack: result})


def with_column(record: Record, attack: str, role: str, name: str, values: Column) -> Record:
    columns = record.attacks[attack].columns
    changed = {**columns, role: {**columns[role], name: values}}
    return with_result(record, attack, columns=changed)


def test_changed_columns_are_refuted(record: Record, tmp_path: Path) -> None:
    for attack, name in (("clean", "test_nll"), (CANARIES, "score"), (MEMBERSHIP, "score_lira")):
        for role in record.models:
            values = record.numbers(attack, role, name)
            better = tuple(value / 2 + 0.01 for value in values)
            forged = with_column(record, attack, role, name, better)
            with pytest.raises(BadRecord, match=re.escape(f"{name} of {attack} on {role}")):
                verified(forged, tmp_path)


def test_ranks_that_are_a_little_better_are_refuted(record: Record, tmp_path: Path) -> None:
    ranks = record.numbers(CANARIES, "student", "rank")
    forged = with_column(record, CANARIES, "student", "rank", tuple(max(1, r - 5) for r in ranks))
    with pytest.raises(BadRecord, match=r"rank of canary.* on student, \d+ of \d+ values"):
        verified(forged, tmp_path)


def test_a_changed_poison_or_another_list_of_samples_is_refuted(
    record: Record, tmp_path: Path
) -> None:
    """Which canary was inserted how often decides every exposure."""
    with pytest.raises(BadRecord, match="claims another poison than its attacks insert"):
        verified(replace(record, poison={**record.poison, "count": 1}), tmp_path)
    for attack in (CANARIES, MEMBERSHIP):
        samples = record.attacks[attack].samples
        for name in ("repetitions", "ids", "format"):
            other = {**samples, name: samples[name][::-1]}
            if other == samples:
                continue
            with pytest.raises(BadRecord, match=re.escape(f"lists other samples of {attack}")):
                verified(with_result(record, attack, samples=other), tmp_path)
    tokens = {**record.attacks["clean"].samples, "tokens": [2] * 500}
    with pytest.raises(BadRecord, match="lists other samples of the test set"):
        verified(with_result(record, "clean", samples=tokens), tmp_path)


def test_a_record_without_a_models_columns_is_refuted(record: Record, tmp_path: Path) -> None:
    for attack, says in (("clean", "lacks the clean columns"), (CANARIES, "lacks the columns")):
        columns = dict(record.attacks[attack].columns)
        del columns["control"]
        with pytest.raises(BadRecord, match=says):
            verified(with_result(record, attack, columns=columns), tmp_path)


def test_more_canaries_than_there_are_images_are_refused() -> None:
    with pytest.raises(MissingData, match="needs 500 canaries, and this scenario has 49"):
        CanaryExposure("0+1", per_level=250).poison(Digits().splits(Seed(), whole=True), Seed())


@pytest.fixture
def small_board(monkeypatch: pytest.MonkeyPatch) -> None:
    """The privacy leaderboard with fewer canaries and one epoch."""
    small = replace(
        text_privacy.TEXT_PRIVACY,
        attacks=(
            "canary-exposure:repetitions=0+2,per_level=3",
            "extraction:beam=2",
            "membership-inference:shadows=2",
        ),
        schedule=AdamW(epochs=1),
        teacher_schedules={"clean": AdamW(epochs=1)},
    )
    monkeypatch.setattr(text_privacy, "TEXT_PRIVACY", small)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "defense"), [("gpt2", "swing"), ("neox", "distillation:hard=generated")]
)
def test_it_runs_on_anybodys_checkpoints_and_text(
    kind: str, defense: str, small_board: None, tmp_path: Path
) -> None:
    pytest.importorskip("transformers")
    from speech import checkpoint, corpus

    (tmp_path / "text.txt").write_text(corpus(250))
    path = checkpoint(tmp_path / kind, kind)
    (record,) = robustbench_kd.evaluate(
        defense,
        board="text-privacy",
        train=True,
        folder=str(tmp_path / "text.txt"),
        starting_points={"teacher_from": path, "student_from": path},
        out=tmp_path / "out",
    )
    assert record.label == defense
    assert set(record.models) == {TEACHER, "control", "student", "pretrained"}
    assert record.student["architecture"].startswith("checkpoint-")
    group = SeedGroup((record,))
    for text in board_of("text-privacy").metrics:
        assert configured("metrics", text).available(record), text
    exposure = Exposure().breakdown(group)
    assert {"student/digits", "student/words", "student/blind"} <= set(exposure)
    (path_of_record,) = (tmp_path / "out").rglob("*.json")
    with pytest.raises(MissingData, match="about another data set than private-text has here"):
        robustbench_kd.verify(path_of_record)
