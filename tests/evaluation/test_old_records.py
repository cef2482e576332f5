"""Records of older schemas are verified as they lie, without being written anew."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from shutil import copy

import pytest

import robustbench_kd
from records import forge
from robustbench_kd.core.errors import BadRecord
from robustbench_kd.core.paths import shipped
from robustbench_kd.results.store import load_records, read_record

FIXTURES = Path(__file__).parents[1] / "fixtures"
EVASION, BACKDOOR = "old_records/evasion.json", "old_records/backdoor.json"
POISONING, IMAGES = "planted-1.json", "probed-1.json"
SCHEMAS = {
    EVASION: "robustbench-kd.record/1",
    BACKDOOR: "robustbench-kd.planted/1",
    POISONING: "robustbench-kd.planted/1",
    IMAGES: "robustbench-kd.probed/1",
}
verify = robustbench_kd.verify


def with_evidence(name: str, folder: Path) -> Path:
    """A copy of a fixture, with the committed evidence of the same digest beside it."""
    path = folder / Path(name).name
    copy(FIXTURES / name, path)
    record = read_record(path)
    for evidence in (shipped("records") / record.board).glob("*.safetensors"):
        if hashlib.sha256(evidence.read_bytes()).hexdigest() == record.evidence["sha256"]:
            copy(evidence, path.with_suffix(".safetensors"))
    return path


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_fixtures_are_of_older_schemas(name: str) -> None:
    body = json.loads((FIXTURES / name).read_text(encoding="utf-8"))
    assert body["schema"] == SCHEMAS[name]


def test_an_old_record_of_attacks_on_test_data_is_confirmed(tmp_path: Path) -> None:
    path = with_evidence(EVASION, tmp_path)
    verification = verify(path)
    assert verification.robust == read_record(path).worst.hits
    assert verification.values == 500 + (verification.broken or 0)


def test_an_old_record_of_a_backdoor_is_confirmed(tmp_path: Path) -> None:
    verification = verify(with_evidence(BACKDOOR, tmp_path))
    assert (verification.models, verification.values) == (6, 6 * (1000 + 2 * 893))


def test_an_old_record_of_a_targeted_poisoning_is_confirmed(tmp_path: Path) -> None:
    verification = verify(with_evidence(POISONING, tmp_path))
    assert (verification.models, verification.values) == (4, 4 * (500 + 2))


@pytest.mark.slow
def test_an_old_record_of_a_text_to_image_model_is_confirmed() -> None:
    verification = verify(FIXTURES / IMAGES)
    assert verification.models == 3
    assert verification.values == 3 * (1000 + 200 * 11)


@pytest.mark.parametrize("name", [EVASION, BACKDOOR])
def test_an_old_record_makes_the_claim_of_the_committed_one(name: str) -> None:
    record = read_record(FIXTURES / name)
    claims = {other.claim for other in load_records(board=record.board)}
    assert record.claim in claims


@pytest.mark.parametrize("name", ["probed-1-privacy.json", "probed-1-bias.json"])
def test_an_old_record_that_was_cut_to_a_few_samples_is_refuted(name: str) -> None:
    """These fixtures were cut for tests of reading: their test rows are not the scenario's."""
    pytest.importorskip("transformers")
    with pytest.raises(BadRecord, match="about other test data than those here"):
        verify(FIXTURES / name)


def test_an_old_record_without_its_evidence_is_refused() -> None:
    with pytest.raises(BadRecord, match="lacks its evidence, which should lie in"):
        verify(FIXTURES / "record-1.json")


def test_an_old_record_that_was_changed_is_refuted_though_its_digest_fits(tmp_path: Path) -> None:
    path = with_evidence(POISONING, tmp_path)
    forge(path, lambda body: body["settings"].update(rate=0.5))
    with pytest.raises(BadRecord, match="claims other settings than random-poisons"):
        verify(path)
    forge(path, lambda body: body["settings"].update(rate=0.08))
    forge(path, lambda body: body["planted"].update(planted=7))
    with pytest.raises(BadRecord, match="claims another poison than its attacks insert"):
        verify(path)


def test_an_edited_old_record_does_not_match_its_digest(tmp_path: Path) -> None:
    path = with_evidence(EVASION, tmp_path)
    body = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**body, "seed": 1}), encoding="utf-8")
    with pytest.raises(BadRecord, match="does not match its own digest"):
        verify(path)
