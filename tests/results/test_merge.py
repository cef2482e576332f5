"""Merging: the union of many folders, and every file that is refused by its name."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from ledger import first, made
from planted import made as planted

from robustbench_kd.cli.main import main
from robustbench_kd.results.record import Record, canonical, digest
from robustbench_kd.results.store import load_planted, load_records, save_planted, save_record

PROOF = b"what broke them"
SEAL = {"sha256": hashlib.sha256(PROOF).hexdigest(), "bytes": len(PROOF)}


def run(*args: str | Path) -> Result:
    return CliRunner().invoke(main, [str(arg) for arg in args])


def merged(*args: str | Path, code: int = 0) -> dict[str, Any]:
    ran = run("merge", *args, "--json")
    assert ran.exit_code == code, ran.output
    said: dict[str, Any] = json.loads(ran.stdout)
    assert (said["command"], said["exit_code"]) == ("merge", code)
    return said


def record(label: str, hits: int = 7, **other: Any) -> Record:
    return made(label, first(hits, 10), evidence={**SEAL, "rows": 1}, **other)


def laid(folder: Path, *records: Record) -> list[Path]:
    return [save_record(one, PROOF, folder) for one in records]


def content(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_folders_become_one_and_identical_claims_are_kept_once(tmp_path: Path) -> None:
    here, there, out = tmp_path / "here", tmp_path / "there", tmp_path / "out"
    ard, slower = record("ard"), record("ard", spent={"cpu_seconds": 99.0})
    assert ard.claim == slower.claim
    assert ard.id != slower.id
    laid(here, ard, record("rslad"))
    laid(there, slower, record("ard", 6), record("iad"))  # another answer to the same question
    before = content(here) | content(there)
    said = merged(here, there, "--out", out)
    assert (len(said["written"]), len(said["twice"]), said["refused"]) == (4, 1, [])
    assert [path.partition("there/")[2] != "" for path in said["twice"]] == [True]
    found = load_records(out)
    assert sorted((one.label, one.worst.hits) for one in found) == [
        ("ard", 6),
        ("ard", 7),
        ("iad", 7),
        ("rslad", 7),
    ]
    assert all((Path(p).with_suffix(".safetensors")).read_bytes() == PROOF for p in said["written"])
    assert content(here) | content(there) == before


def test_the_order_of_folders_does_not_matter_and_a_second_merge_changes_nothing(
    tmp_path: Path,
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    laid(one, record("ard"), record("rslad"))
    laid(two, record("ard"), record("iad"))
    merged(one, two, "--out", tmp_path / "ab")
    merged(two, one, "--out", tmp_path / "ba")
    assert content(tmp_path / "ab") == content(tmp_path / "ba")
    said = merged(one, two, tmp_path / "ab", "--out", tmp_path / "ab")
    assert (len(said["written"]), len(said["there"]), len(said["twice"])) == (0, 3, 4)
    assert content(tmp_path / "ab") == content(tmp_path / "ba")


def reworded(path: Path, **changes: Any) -> None:
    """The record with other words and a digest that fits them."""
    body = {**json.loads(path.read_text()), **changes}
    body.pop("id")
    path.write_text(canonical({**body, "id": digest(body)}))


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:400])


def edited(path: Path) -> None:
    path.write_text(path.read_text().replace('"seed": 0', '"seed": 1', 1))


def lying(path: Path) -> None:
    robust = {**json.loads(path.read_text())["robust"], "hits": 9}
    reworded(path, robust=robust)


def without_proof(path: Path) -> None:
    path.with_suffix(".safetensors").unlink()


HARMS: list[tuple[Callable[[Path], Any], int, str]] = [
    (cut_off, 2, "is no record: "),
    (edited, 2, "does not match its own digest"),
    (lying, 2, "the worst case is not that of the attacks' bits"),
    (lambda path: path.write_bytes(b"\xff\xfe"), 2, "is no record: "),
    (lambda path: path.write_text("[]"), 2, "holds a list"),
    (lambda path: path.write_text("{}"), 2, "has schema None"),
    (lambda path: reworded(path, schema="robustbench-kd.record/2"), 2, "record/2'; this version"),
    (lambda path: reworded(path, surprise=1), 2, "surprise"),
    (without_proof, 2, "lacks its evidence"),
    (lambda path: reworded(path, evidence={}), 2, "damaged or swapped"),
    (lambda path: path.with_suffix(".safetensors").write_bytes(b"x"), 2, "damaged or swapped"),
    (lambda path: reworded(path, threat={"norm": "linf", "eps": 0.2}), 4, "other threat"),
    (lambda path: reworded(path, limit=10), 4, "other number of images"),
]


@pytest.mark.parametrize(("harm", "code", "words"), HARMS)
def test_what_cannot_be_trusted_is_named_and_the_rest_stays_usable(
    harm: Callable[[Path], Any], code: int, words: str, tmp_path: Path
) -> None:
    good, bad, out = tmp_path / "good", tmp_path / "bad", tmp_path / "out"
    laid(good, record("rslad"), record("iad"))
    fine, path = laid(bad, record("trades"), record("ard"))
    harm(path)
    said = merged(bad, good, "--out", out, code=code)
    (refused,) = said["refused"]
    assert refused["path"] == str(path)
    assert path.stem in refused["why"]
    assert words in refused["why"]
    assert {one.label for one in load_records(out)} == {"rslad", "iad", "trades"}
    assert fine.name in {Path(p).name for p in said["written"]}
    text = run("merge", bad, good, "--out", tmp_path / "again")
    assert text.exit_code == code
    assert f"refused: {refused['why']}" in text.stdout
    assert "3 new, 0 there already, 0 the same as another, 1 refused" in text.stdout


def test_other_test_images_and_other_settings_are_another_protocol(tmp_path: Path) -> None:
    one = record("ard")
    cells = (one.cells[0], replace(one.cells[1], settings={"eps": 0.2}), *one.cells[2:])
    (odd,) = laid(tmp_path / "odd", replace(one, cells=cells, data={**one.data, "examples": "y"}))
    laid(tmp_path / "rest", record("rslad"), record("iad"))
    said = merged(tmp_path / "odd", tmp_path / "rest", "--out", tmp_path / "out", code=4)
    (refused,) = said["refused"]
    assert refused["path"] == str(odd)
    assert refused["why"].endswith("other settings of fgsm, test data")


def test_the_folder_that_is_merged_into_says_what_the_protocol_is(tmp_path: Path) -> None:
    laid(tmp_path / "out", record("ard"))
    other = {"threat": {"norm": "linf", "eps": 0.2}}
    laid(tmp_path / "many", record("rslad", **other), record("iad", **other))
    said = merged(tmp_path / "many", "--out", tmp_path / "out", code=4)
    assert (len(said["refused"]), said["written"]) == (2, [])
    assert [one.label for one in load_records(tmp_path / "out")] == ["ard"]


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (path,) = laid(tmp_path / "here", record("ard"))
    target = tmp_path / "out" / path.relative_to(tmp_path / "here")
    target.parent.mkdir(parents=True)
    target.write_text("mine")
    said = merged(tmp_path / "here", "--out", tmp_path / "out", code=5)
    assert target.read_text() == "mine"
    assert not target.with_suffix(".safetensors").exists()
    assert any("holds something else already" in one["why"] for one in said["refused"])


def test_planted_records_take_their_shared_inputs_along(tmp_path: Path) -> None:
    exhibit = {"sha256": SEAL["sha256"], "bytes": SEAL["bytes"]}
    for machine, label in (("a", "distillation"), ("b", "labels")):
        save_planted(
            planted({"student": 3}, label=label, exhibit=exhibit), PROOF, tmp_path / machine
        )
    said = merged(tmp_path / "a", tmp_path / "b", "--out", tmp_path / "out")
    assert len(said["written"]) == 2
    assert len(list((tmp_path / "out").rglob("*.safetensors"))) == 1
    assert {one.label for one in load_planted(tmp_path / "out")} == {"distillation", "labels"}


def test_nothing_usable_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    assert merged(tmp_path / "none", "--out", tmp_path / "out", code=5)["written"] == []
    assert not (tmp_path / "out").exists()
    assert run("merge", tmp_path / "gone", "--out", tmp_path / "out").exit_code == 2
    closed = tmp_path / "file"
    closed.write_text("")
    assert run("merge", tmp_path / "none", "--out", closed / "x").exit_code == 6
