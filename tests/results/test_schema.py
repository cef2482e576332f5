"""The JSON Schema of a record, and records of older schemas."""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from click.testing import CliRunner

from robustbench_kd.cli.main import main
from robustbench_kd.core.errors import BadRecord
from robustbench_kd.core.paths import shipped
from robustbench_kd.results.migrations import MIGRATIONS, migrated
from robustbench_kd.results.planted import Asked, Planted
from robustbench_kd.results.probed import Known, Probed
from robustbench_kd.results.record import SCHEMA, Cell, Record, digest, parse

FIXTURES = Path(__file__).parents[1] / "fixtures"
Json = dict[str, Any]


def printed(*kind: str) -> Json:
    ran = CliRunner().invoke(main, ["schema", *kind])
    assert ran.exit_code == 0, ran.output
    said: Json = json.loads(ran.stdout)
    return said


VALIDATOR = jsonschema.Draft202012Validator(printed())


def committed(kind: str = SCHEMA) -> list[Json]:
    """Every committed record of a kind."""
    bodies = [json.loads(path.read_text()) for path in sorted(shipped("records").rglob("*.json"))]
    return [body for body in bodies if body["schema"] == kind]


def test_the_schema_is_one_and_every_committed_record_fits_it() -> None:
    VALIDATOR.check_schema(VALIDATOR.schema)
    records = committed()
    assert len(records) >= 40
    for body in records:
        VALIDATOR.validate(body)


@pytest.mark.parametrize(("kind", "made"), [("planted", Planted), ("probed", Probed)])
def test_records_behind_a_door_fit_their_schema_which_names_what_is_kept(
    kind: str, made: type
) -> None:
    schema = printed(kind)
    validator = jsonschema.Draft202012Validator(schema)
    validator.check_schema(schema)
    records = committed(str(schema["$id"]))
    assert len(records) >= 20
    for body in records:
        validator.validate(body)
    kept = {field.name for field in dataclasses.fields(made)} | {"id"}
    assert set(schema["properties"]) == set(schema["required"]) == kept
    one = schema["properties"]["subjects"]["additionalProperties"]
    kept = {field.name for field in dataclasses.fields(Asked if made is Planted else Known)}
    assert set(one["properties"]) == set(one["required"]) == kept
    changes: list[Callable[[Json], Any]] = [
        lambda body: body.pop("door"),
        lambda body: body.update(door="input"),
        lambda body: body.update(extra=1),
        lambda body: body["subjects"].pop("student"),
        lambda body: body["subjects"]["student"].pop("weights"),
        lambda body: body["planted"].update(planted=0),
        lambda body: body["data"].update(count="1"),
    ]
    for change in changes:
        broken = copy.deepcopy(records[0])
        change(broken)
        assert not validator.is_valid(broken)


def test_the_schema_names_exactly_what_the_code_keeps() -> None:
    schema = printed()
    kept = {field.name for field in dataclasses.fields(Record)} | {"id"}
    assert set(schema["properties"]) == set(schema["required"]) == kept
    cell = schema["$defs"]["cell"]
    kept = {field.name for field in dataclasses.fields(Cell)}
    assert set(cell["properties"]) == set(cell["required"]) == kept


CHANGES: list[Callable[[Json], Any]] = [
    lambda body: body.pop("limit"),
    lambda body: body.update(extra=1),
    lambda body: body.update(schema="robustbench-kd.record/2"),
    lambda body: body.update(id=body["id"][:-1]),
    lambda body: body.update(limit=0),
    lambda body: body.update(seed=-1),
    lambda body: body.update(cells=[]),
    lambda body: body.update(doubts=["", "x"]),
    lambda body: body["cells"][1].update(right="443"),
    lambda body: body["cells"][1].update(bits="not base64"),
    lambda body: body["cells"][1].pop("forward"),
    lambda body: body["threat"].update(eps="8/255"),
    lambda body: body["robust"].update(high=86.7),
    lambda body: body["model"].update(weights="deadbeef"),
    lambda body: body["evidence"].update(sha256=None),
    lambda body: body["teachers"].update(robust=7),
    lambda body: body["spent"].update(cpu_seconds=-1),
]


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_record_does_not_fit(change: Callable[[Json], Any]) -> None:
    body = copy.deepcopy(committed()[0])
    change(body)
    assert not VALIDATOR.is_valid(body)


@pytest.mark.parametrize("path", sorted(FIXTURES.glob("record-*.json")), ids=lambda p: p.stem)
def test_an_older_record_is_read_in_todays_words_and_its_file_stays(path: Path) -> None:
    text = path.read_text()
    record = parse(text, path.name)
    assert record.schema == SCHEMA
    VALIDATOR.validate(record.json())
    assert parse(json.dumps(record.json()), "again") == record
    assert path.read_text() == text


def test_a_draft_keeps_its_numbers() -> None:
    record = parse((FIXTURES / "record-0.json").read_text(), "draft")
    assert record.threat == {"norm": "linf", "eps": 8 / 255}
    assert [cell.attack for cell in record.cells] == ["untouched", "fgsm"]
    assert (record.clean.hits, record.worst.hits, record.worst.count) == (9, 5, 12)
    assert (record.spent, record.wide, record.doubts) == ({"cpu_seconds": 1.5}, (), ())


def test_every_older_schema_has_a_fixture_and_a_way_to_todays() -> None:
    found = {json.loads(path.read_text())["schema"] for path in FIXTURES.glob("record-*.json")}
    assert found == set(MIGRATIONS)
    for path in FIXTURES.glob("record-*.json"):
        body = json.loads(path.read_text())
        before = copy.deepcopy(body)
        assert migrated(body)["schema"] == SCHEMA
        assert body == before  # pure: what it was given is as it was


def test_an_older_record_that_was_edited_is_refused() -> None:
    body = json.loads((FIXTURES / "record-0.json").read_text())
    with pytest.raises(BadRecord, match="does not match its own digest"):
        parse(json.dumps({**body, "epsilon": "4/255"}), "edited")


@pytest.mark.parametrize("schema", ["robustbench-kd.record/2", "robustbench-kd.record/", None, [1]])
def test_a_schema_without_a_way_is_refused(schema: object) -> None:
    body = {**committed()[0], "schema": schema}
    body = {k: v for k, v in body.items() if k != "id"}
    with pytest.raises(BadRecord, match=r"has schema|is no record"):
        parse(json.dumps({**body, "id": digest(body)}), "future")
