"""Probed boards from end to end: on images, and on anybody's language models."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from robustbench_kd.cli.main import main
from robustbench_kd.core.config import AdamW
from robustbench_kd.core.errors import BadRecord, BadSetting
from robustbench_kd.core.registry import board_of
from robustbench_kd.evaluation.probing import probe
from robustbench_kd.evaluation.reprobing import verify_probed
from robustbench_kd.leaderboards import text_privacy
from robustbench_kd.metrics._groups import cases, reference_of, within
from robustbench_kd.metrics.exposure import entry, note
from robustbench_kd.results.probed import Probed, parse_probed
from robustbench_kd.results.store import load_probed, load_records, probed_path, save_probed


def silent(*_: Any) -> None:
    """Nobody follows."""


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache for the tests that look at one run."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def run(shared: Path, monkeypatch: pytest.MonkeyPatch) -> Probed:
    """Distillation on digits with planted labels; trained by the first test that asks."""
    monkeypatch.setenv("ROBUSTBENCH_KD_CACHE", str(shared))
    return probe("distillation", board="digits-privacy", train=True, say=silent)[0]


def test_planted_labels_are_known_and_those_of_dose_zero_are_not(run: Probed) -> None:
    case = cases(board_of("digits-privacy"), [run])[0]
    top = [b for seed in case.bits("teacher-clean", dose=lambda n: n == 16) for b in seed]
    none = [b for seed in case.bits("teacher-clean", dose=lambda n: n == 0) for b in seed]
    assert sum(top) / len(top) > sum(none) / len(none) + 1
    told = entry(case, None)
    assert min(told["chance_p_at_dose_0"].values()) > 0.01
    ranks = [
        rank for seed in case.ranks("teacher-clean", dose=lambda n: n == 16) for rank, _ in seed
    ]
    first = told["rank_1_by_dose"]["teacher-clean"]["16"]
    assert (first["hits"], first["count"]) == (sum(rank == 1 for rank in ranks), len(ranks))


def test_formats_are_asked_for_by_name_all_together_or_all_but_one() -> None:
    assert [within(f, "digits") for f in ("digits", "blind")] == [True, False]
    assert [within(f, "all") for f in ("digits", "blind")] == [True, True]
    assert [within(f, "all but blind") for f in ("digits", "blind")] == [True, False]


def test_its_ranks_are_among_those_that_were_never_planted(run: Probed) -> None:
    dose = run.items["canary:doses=0+1+4+16,each=6"]["dose"]
    strangers = dose.count(0)
    for known in run.subjects.values():
        of = known.columns["canary:doses=0+1+4+16,each=6"]["of"]
        assert all(n == strangers + (d > 0) for n, d in zip(of, dose, strict=True))


def test_a_record_comes_back_as_it_was_and_is_no_record_of_another_kind(
    run: Probed, tmp_path: Path
) -> None:
    path = save_probed(run, tmp_path)
    assert load_probed(tmp_path, "digits-privacy") == [run]
    assert load_records(tmp_path) == []
    assert path == probed_path(run, tmp_path)


def test_a_probed_record_is_confirmed_and_a_changed_one_is_refuted(
    run: Probed, tmp_path: Path
) -> None:
    found = verify_probed(save_probed(run, tmp_path))
    assert found.networks == len(run.subjects) == 3
    assert found.marginal == 0
    student = run.subjects["student"]
    better = replace(student, nats=[n / 2 for n in student.nats])
    forged = replace(run, subjects={**run.subjects, "student": better})
    with pytest.raises(BadRecord, match="student answers otherwise than recorded: surprise"):
        verify_probed(save_probed(forged, tmp_path))
    fewer = replace(run, planted={**run.planted, "planted": 1})
    with pytest.raises(BadRecord, match="claims to have planted something else"):
        verify_probed(save_probed(fewer, tmp_path))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda b: b.pop("door"), "does not match its own digest"),
        (lambda b: b["subjects"]["student"]["nats"].pop(), "does not match its own digest"),
    ],
)
def test_a_damaged_record_is_refused(run: Probed, change: Any, words: str) -> None:
    body = run.json()
    change(body)
    with pytest.raises(BadRecord, match=words):
        parse_probed(body, "there")


def test_a_rank_outside_of_its_space_is_refused(run: Probed) -> None:
    from robustbench_kd.results.record import digest

    body = run.json()
    del body["id"]
    body["subjects"]["student"]["columns"]["canary:doses=0+1+4+16,each=6"]["rank"][0] = 99
    with pytest.raises(BadRecord, match="a rank of student is outside of its space"):
        parse_probed({**body, "id": digest(body)}, "there")


def test_records_of_other_texts_or_models_are_neither_pooled_nor_measured_against(
    run: Probed,
) -> None:
    board = board_of("digits-privacy")
    other = replace(run, seed=1, data={**run.data, "examples": "of another text"})
    labels = replace(run, defense={**run.defense, "name": "labels", "label": "labels"})
    found = cases(board, [run, other, labels])
    assert [len(case.records) for case in found] == [1, 1, 1]
    mine = next(case for case in found if case.first is labels)
    reference = reference_of(found, mine)
    assert reference is not None
    assert reference.first is run
    assert "2 different texts or models" in note(board, found)
    alike = cases(board, [run, replace(run, seed=1)])
    assert [len(case.records) for case in alike] == [2]
    assert "different texts" not in note(board, alike)


def test_the_same_run_makes_the_same_claim(run: Probed) -> None:
    again = probe("distillation", board="digits-privacy", train=False, say=silent)[0]
    assert again.claim == run.claim


def test_one_attack_alone_is_refused_where_all_share_a_student() -> None:
    with pytest.raises(BadSetting, match="on one student; leave out --attack"):
        probe("labels", board="digits-privacy", attacks=["canary"], train=True, say=silent)


def test_more_canaries_than_there_are_images_are_refused() -> None:
    from robustbench_kd.attacks.privacy.canary import Canary
    from robustbench_kd.core.errors import MissingData
    from robustbench_kd.core.seed import Seed
    from robustbench_kd.scenarios.digits import Digits

    with pytest.raises(MissingData, match="500 canaries are asked for, and this ground has 49"):
        Canary(doses="0+1", each=250).before(Digits().splits(Seed(), whole=True), Seed())


@pytest.fixture
def little(monkeypatch: pytest.MonkeyPatch) -> None:
    """The privacy board with fewer canaries and one epoch."""
    small = replace(
        text_privacy.TEXT_PRIVACY,
        panel=("canary:doses=0+2,each=3", "extraction:beam=2", "membership:shadows=2"),
        schedule=AdamW(epochs=1),
        teaching={"clean": AdamW(epochs=1)},
    )
    monkeypatch.setattr(text_privacy, "TEXT_PRIVACY", small)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "defense"), [("gpt2", "swing"), ("neox", "distillation:hard=generated")]
)
def test_the_command_runs_on_anybodys_checkpoints(
    kind: str,
    defense: str,
    little: None,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("transformers")
    from speech import checkpoint, corpus

    (tmp_path / "text.txt").write_text(corpus(250))
    path = checkpoint(tmp_path / kind, kind)
    with pytest.raises(SystemExit) as left:
        main(
            [
                *("evaluate", "--board", "text-privacy", "--defense", defense, "--train"),
                *("--data", str(tmp_path / "text.txt")),
                *("--teacher-from", path, "--student-from", path),
                *("--json", "--out", str(tmp_path / "out")),
            ]
        )
    assert left.value.code == 0
    row = json.loads(capsys.readouterr().out)["rows"][0]
    assert row["defense"] == defense
    assert set(row["exposure"]) == {"teacher-clean", "control", "student", "untouched"}
    assert set(row["exposure"]["student"]) == {"digits", "words", "blind", "all"}
    assert row["perplexity"]["student"]["count"] > 0
    (record,) = load_probed(tmp_path / "out", "text-privacy")
    assert record.subjects["student"].net.startswith("checkpoint-")
