"""A new family of threats is at most four new files, and no change of the package."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import model_theft
import pytest
import torch
from plugin_site import forgotten, put, show
from torch import nn

import robustbench_kd
from robustbench_kd.core import registry
from robustbench_kd.core.errors import BadModel, BadRecord, BadSubmission, UnknownName
from robustbench_kd.core.registry import board_of
from robustbench_kd.reports.leaderboard import rank
from robustbench_kd.results.parsing import parse_body
from robustbench_kd.results.record import Bits, Record
from robustbench_kd.results.store import read_record, save_record

BOARD, ATTACK = "digits-theft", "model-extraction"
verify = robustbench_kd.verify


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The plug-in, for the time of a test."""
    with forgotten("theirs"):
        show(put(tmp_path / "site", model_theft.POINTS, model_theft.FILES), monkeypatch)
        yield


@pytest.fixture
def record(installed: None, shared: Path, monkeypatch: pytest.MonkeyPatch) -> Record:
    """The student of ARD, which ships, and was attacked by the first test that asks."""
    monkeypatch.setenv("ROBUSTBENCH_KD_CACHE", str(shared))
    return evaluated("ard")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache for the tests of this file."""
    return tmp_path_factory.mktemp("cache")


def evaluated(who: str | nn.Module, **options: Any) -> Record:
    (record,) = robustbench_kd.evaluate(who, board=BOARD, **options)
    return record


def negated(net: nn.Sequential) -> nn.Sequential:
    """The same weights and architecture with the opposite answers, by a hook."""
    other = copy.deepcopy(net)
    other.register_forward_hook(lambda module, inputs, scores: -scores)
    return other


def agrees(record: Record) -> Bits:
    return record.bits(ATTACK, "student", "agrees")


def test_four_files_are_enough_and_none_of_the_package_knows_of_them() -> None:
    assert len(model_theft.FILES) == 4
    names = {name for named in model_theft.POINTS.values() for name in named}
    for package in ("core", "evaluation", "metrics", "reports", "results"):
        for path in Path(str(files("robustbench_kd") / package)).rglob("*.py"):
            assert not any(name in path.read_text(encoding="utf-8") for name in names), path
    for kind, named in model_theft.POINTS.items():
        assert not set(named) & set(registry.entries(kind))


def test_a_record_holds_the_columns_that_the_plug_ins_scorer_decided(record: Record) -> None:
    result = record.attacks[ATTACK]
    assert list(record.attacks) == ["clean", ATTACK]
    assert result.scorer == "copy-agreement"
    assert set(result.columns["student"]) == {"agrees", "copy_correct"}
    assert result.settings == {"queries": 400, "epochs": 8}
    assert result.passes == {"forward": 400, "backward": 0}
    assert agrees(record).count == 500
    assert 0.3 < agrees(record).share.value < 1
    assert record.clean.value > 0.97
    assert record.threat["capability"] == "test_data"
    assert record.evidence == {}
    assert record.sanity_checks == {}


def test_the_record_survives_its_file_and_fits_the_schema(record: Record, tmp_path: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    path = save_record(record, b"", tmp_path / "out")
    assert read_record(path) == record
    schema = json.loads((files("robustbench_kd") / "results" / "record.schema.json").read_text())
    jsonschema.validate(json.loads(path.read_text(encoding="utf-8")), schema)
    assert parse_body(json.loads(path.read_text(encoding="utf-8")), "here").claim == record.claim


def test_students_are_ranked_by_the_plug_ins_metric(record: Record) -> None:
    records = [record, evaluated("standard-training")]
    ranking = rank(board_of(BOARD), records)
    assert ranking.outside == ()
    assert {row.label for row in ranking.rows} == {"ard", "standard-training"}
    values = [row.value("copy-fidelity") for row in ranking.rows]
    shares = [value.value for value in values if value is not None]
    assert shares == sorted(shares), "a copy that agrees less often ranks first"
    assert set(shares) == {agrees(other).share.value for other in records}
    for row in ranking.rows:
        accuracy = row.value("clean-accuracy")
        assert accuracy is not None
        assert accuracy.value == row.record.clean.value


def test_the_record_is_confirmed_by_scoring_a_fresh_submission(record: Record) -> None:
    verification = verify(record)
    assert (verification.models, verification.values) == (1, 3 * 500)
    assert verification.marginal == 0


def test_changed_columns_are_refuted(record: Record, tmp_path: Path) -> None:
    flags = agrees(record).flags
    better = Bits.of([flag and n % 10 > 0 for n, flag in enumerate(flags)])
    result = record.attacks[ATTACK]
    columns = {"student": {**result.columns["student"], "agrees": better}}
    attacks = {**record.attacks, ATTACK: replace(result, columns=columns)}
    forged = save_record(replace(record, attacks=attacks), b"", tmp_path / "out")
    with pytest.raises(BadRecord, match=f"agrees of {ATTACK} on student, \\d+ of 500 values"):
        verify(forged)


def test_a_users_network_is_attacked_and_verified_alike(installed: None, tmp_path: Path) -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    with torch.no_grad():
        net[1].weight.copy_(torch.linspace(-1, 1, 640).view(10, 64).cos())
    record = evaluated(net, name="linear", limit=50, out=tmp_path / "out")
    assert (record.limit, agrees(record).count) == (50, 50)
    (path,) = (tmp_path / "out").rglob("*.json")
    assert verify(path, net).values == 150
    with pytest.raises(BadRecord, match="says otherwise than the model answers"):
        verify(path, negated(net))
    with pytest.raises(BadModel, match="not stored here"):
        verify(path)


def test_the_attack_decides_nothing(installed: None, monkeypatch: pytest.MonkeyPatch) -> None:
    from theirs.model_extraction import CopiedAnswers, ModelExtraction

    def claiming(*given: Any) -> Any:
        test = given[2].test
        zeros = torch.zeros(len(test), dtype=torch.int64)
        return CopiedAnswers(test.ids, zeros, {"agrees": zeros + 1})

    monkeypatch.setattr(ModelExtraction, "attack", claiming)
    with pytest.raises(BadSubmission, match="'agrees', which is for the scorer to decide"):
        evaluated("ard", limit=20)


def test_an_attack_without_its_scorer_is_refused_before_anything_is_spent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = {kind: named for kind, named in model_theft.POINTS.items() if kind != "scorers"}
    with forgotten("theirs"):
        show(put(tmp_path / "site", points, model_theft.FILES), monkeypatch)
        with pytest.raises(UnknownName, match="no scorer named 'copy-agreement'"):
            evaluated("ard")
