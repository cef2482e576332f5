"""The JSON Schema of a record: every record fits it, and what is changed does not."""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Callable
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from click.testing import CliRunner

from robustbench_kd.cli.main import main
from robustbench_kd.cli.schema import schema
from robustbench_kd.core.config import Capability
from robustbench_kd.core.errors import BadRecord
from robustbench_kd.core.paths import shipped
from robustbench_kd.results.parsing import parse
from robustbench_kd.results.record import SCHEMA, AttackResult, Bits, Json, Record, digest
from robustbench_kd.results.store import read_record

TEXT = files("robustbench_kd.results").joinpath("record.schema.json").read_text("utf-8")
VALIDATOR = jsonschema.Draft7Validator(json.loads(TEXT))
FIXTURES = sorted((Path(__file__).parents[1] / "fixtures").glob("*.json"))


@cache
def document(board: str) -> Json:
    """A committed record of a leaderboard, as today's JSON."""
    path = next(iter(sorted((shipped("records") / board).glob("*.json"))))
    return read_record(path).json()


def committed() -> list[Path]:
    """Some records of each folder of committed ones."""
    folders = sorted({path.parent for path in shipped("records").rglob("*.json")})
    return [path for folder in folders for path in sorted(folder.glob("*.json"))[::9]]


def test_the_schema_is_one() -> None:
    VALIDATOR.check_schema(VALIDATOR.schema)
    assert VALIDATOR.schema["$id"] == SCHEMA


@pytest.mark.parametrize("path", [*committed(), *FIXTURES], ids=lambda path: path.stem)
def test_every_record_fits_the_schema(path: Path) -> None:
    VALIDATOR.validate(read_record(path).json())


def test_the_schema_names_exactly_what_a_record_holds() -> None:
    fields = {field.name for field in dataclasses.fields(Record)} | {"id", "panel"}
    assert set(VALIDATOR.schema["properties"]) == set(VALIDATOR.schema["required"]) == fields
    definitions = VALIDATOR.schema["$defs"]
    fields = {field.name for field in dataclasses.fields(AttackResult)}
    assert set(definitions["attack"]["properties"]) == fields
    assert set(definitions["bits"]["required"]) == set(Bits.of([True]).json())
    capabilities = VALIDATOR.schema["properties"]["threat"]["properties"]["capability"]["enum"]
    assert set(capabilities) == set(Capability.__args__)  # type: ignore[attr-defined]


def correct(body: Json) -> Json:
    column: Json = body["attacks"]["fgsm"]["columns"]["student"]["correct"]
    return column


EVASION: dict[str, Callable[[Json], Any]] = {
    "no limit": lambda body: body.pop("limit"),
    "no id": lambda body: body.pop("id"),
    "an extra field": lambda body: body.update(extra=1),
    "an older schema": lambda body: body.update(schema="robustbench-kd.record/1"),
    "a short id": lambda body: body.update(id=body["id"][:-1]),
    "a limit of zero": lambda body: body.update(limit=0),
    "a negative seed": lambda body: body.update(seed=-1),
    "no attack": lambda body: body.update(attacks={}),
    "an empty panel": lambda body: body.update(panel=[]),
    "a panel without clean": lambda body: body.update(panel=["fgsm"]),
    "an attack twice": lambda body: body["panel"].append("fgsm"),
    "an empty warning": lambda body: body.update(warnings=["", "x"]),
    "ones as text": lambda body: correct(body).update(ones="443"),
    "no base64": lambda body: correct(body).update(bits="not base64"),
    "half a byte": lambda body: correct(body).update(bits="AAA"),
    "no count": lambda body: correct(body).pop("count"),
    "an extra field of bits": lambda body: correct(body).update(note=1),
    "correct answers as numbers": lambda body: body["attacks"]["fgsm"]["columns"]["student"].update(
        correct=[0, 1]
    ),
    "a column without a name": lambda body: body["attacks"]["fgsm"]["columns"]["student"].update(
        {"": [1]}
    ),
    "a column of text": lambda body: body["attacks"]["fgsm"]["columns"]["student"].update(
        score=["a"]
    ),
    "no student": lambda body: body["attacks"]["fgsm"]["columns"].pop("student"),
    "an unknown role": lambda body: body["models"].update(nobody=body["models"]["student"]),
    "no scorer": lambda body: body["attacks"]["fgsm"].pop("scorer"),
    "negative passes": lambda body: body["attacks"]["fgsm"]["passes"].update(forward=-1),
    "an extra part of a result": lambda body: body["attacks"]["fgsm"].update(verdict=1),
    "samples of unknown kind": lambda body: body["attacks"]["fgsm"].update(samples={"names": []}),
    "eps as text": lambda body: body["threat"].update(eps="8/255"),
    "no eps": lambda body: body["threat"].pop("eps"),
    "an unknown norm": lambda body: body["threat"].update(norm="l7"),
    "an unknown capability": lambda body: body["threat"].update(capability="input"),
    "weights that are no digest": lambda body: body["models"]["student"].update(weights="dead"),
    "no model": lambda body: body["models"].pop("student"),
    "no evidence": lambda body: body.update(evidence={}),
    "evidence without a digest": lambda body: body["evidence"].update(sha256=None),
    "poisoned data": lambda body: body.update(poison={"count": 1}),
    "time below zero": lambda body: body["compute"].update(cpu_seconds=-1),
    "a label that is none": lambda body: body["defense"].update(label=""),
    "a sanity check in words": lambda body: body["sanity_checks"].update(scale="fine"),
}


@pytest.mark.parametrize("name", EVASION)
def test_a_changed_record_of_attacks_on_test_data_does_not_fit(name: str) -> None:
    body = copy.deepcopy(document("digits-linf"))
    VALIDATOR.validate(body)
    EVASION[name](body)
    assert not VALIDATOR.is_valid(body)


TRAINED: dict[str, Callable[[Json], Any]] = {
    "no capability": lambda body: body["threat"].pop("capability"),
    "no poison": lambda body: body.update(poison={}),
    "nothing poisoned": lambda body: body["poison"].update(count=0),
    "poison of an unknown size": lambda body: body["poison"].pop("train_size"),
    "a count as text": lambda body: body["data"].update(count="1"),
    "no weights": lambda body: body["models"]["student"].pop("weights"),
    "a recipe that is no digest": lambda body: body["models"]["student"].update(recipe_digest="x"),
    "evidence of unknown size": lambda body: body.update(evidence={"sha256": "0" * 64}),
}


@pytest.mark.parametrize("board", ["digits-poisoning", "text-privacy", "t2i-backdoor"])
@pytest.mark.parametrize("name", TRAINED)
def test_a_changed_record_of_attacks_on_training_data_does_not_fit(board: str, name: str) -> None:
    body = copy.deepcopy(document(board))
    TRAINED[name](body)
    assert not VALIDATOR.is_valid(body)


@pytest.mark.parametrize(
    "version", ["robustbench-kd.record/3", "robustbench-kd.record/", None, [1]]
)
def test_a_schema_without_a_way_is_refused(version: object) -> None:
    body = {**document("digits-linf"), "schema": version}
    body = {name: value for name, value in body.items() if name != "id"}
    with pytest.raises(BadRecord, match=r"has schema|is no record"):
        parse(json.dumps({**body, "id": digest(body)}), "future")


# ------------------------------------------------------------------------------------- the command


def test_the_command_prints_the_schema() -> None:
    ran = CliRunner().invoke(main, ["schema"])
    assert (ran.exit_code, ran.stdout, ran.stderr) == (0, TEXT, "")


@pytest.mark.parametrize("kind", ["record", "planted", "probed"])
def test_kinds_of_older_records_are_understood(kind: str) -> None:
    ran = CliRunner().invoke(main, ["schema", kind])
    assert (ran.exit_code, ran.stdout) == (0, TEXT)
    (line,) = ran.stderr.splitlines()
    assert line.endswith(f"there is one schema for all records; leave out {kind!r}")
    usage = schema.get_help(schema.make_context("schema", [])).splitlines()[0]
    assert usage.strip() == "Usage: schema [OPTIONS]"


def test_another_kind_is_an_error_of_one_sentence() -> None:
    ran = CliRunner().invoke(main, ["schema", "cell"])
    assert (ran.exit_code, ran.stdout) == (2, "")
    (line,) = ran.stderr.splitlines()
    assert "there is one schema for all records; leave out 'cell'" in line
