"""A record whose parts contradict each other is refused, even under a digest that fits it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from records import (
    backdoor_record,
    bias_record,
    bits,
    canary_record,
    evasion_record,
    evasion_result,
    forged,
)
from robustbench_kd.core.errors import BadRecord
from robustbench_kd.ops.statistics.bitset import pack, unpack
from robustbench_kd.results.parsing import parse, parse_body
from robustbench_kd.results.record import CLEAN, Json, Record

Change = Callable[[Json], Any]


def record() -> Record:
    """Twelve examples, ten correct and five under attack; two attacks also on 30 examples."""
    full_test = {name: evasion_result(25, 30) for name in (CLEAN, "fgsm")}
    return evasion_record("ard", 5, clean=10, count=12, full_test=full_test)


def test_a_forgery_that_changes_nothing_is_read() -> None:
    """So that what is refused below is refused for its change."""
    assert parse_body(forged(record().json(), lambda body: None), "here") == record()


@pytest.mark.parametrize("part", ["attacks", "full_test"])
@pytest.mark.parametrize("name", ["ones", "count"])
@pytest.mark.parametrize("by", [1, -1])
def test_a_count_that_was_changed_is_refused(part: str, name: str, by: int) -> None:
    for attack in record().json()[part]:

        def change(body: Json, attack: str = attack) -> None:
            body[part][attack]["columns"]["student"]["correct"][name] += by

        with pytest.raises(BadRecord, match="here"):
            parse_body(forged(record().json(), change), "here")


@pytest.mark.parametrize("part", ["attacks", "full_test"])
def test_a_bit_that_was_flipped_is_refused(part: str) -> None:
    for attack, result in record().json()[part].items():
        for example in range(result["columns"]["student"]["correct"]["count"]):

            def change(body: Json, attack: str = attack, example: int = example) -> None:
                column = body[part][attack]["columns"]["student"]["correct"]
                flags = unpack(column["bits"], column["count"])
                flags[example] = not flags[example]
                column["bits"] = pack(flags)

            with pytest.raises(BadRecord, match="ones, its bits do not"):
                parse_body(forged(record().json(), change), "here")


@pytest.mark.parametrize("part", ["attacks", "full_test"])
@pytest.mark.parametrize("name", ["forward", "backward"])
def test_a_negative_number_of_passes_is_refused(part: str, name: str) -> None:
    def change(body: Json) -> None:
        body[part]["fgsm"]["passes"][name] = -1

    with pytest.raises(BadRecord, match=f"{part}.fgsm.passes.{name} must be of minimum 0"):
        parse_body(forged(record().json(), change), "here")


EVASION: dict[str, tuple[Change, str]] = {
    "an unknown field": (lambda body: body.update(colour="red"), "colour"),
    "no threat": (lambda body: body.pop("threat"), "threat"),
    "no panel": (lambda body: body.update(panel=[]), "panel must be of minItems 1"),
    "an attack beside the panel": (lambda body: body["panel"].remove("fgsm"), "panel and attacks"),
    "an attack twice": (lambda body: body["panel"].append("fgsm"), "panel must be of uniqueItems"),
    "an attack without a result": (lambda body: body["attacks"].pop("fgsm"), "fgsm"),
    "another number of examples": (lambda body: body["data"].update(count=13), "another number"),
    "no data digest": (lambda body: body["data"].pop("examples"), "lacks the examples of its data"),
    "no name": (lambda body: body["defense"].pop("name"), "lacks the name of its defense"),
    "no eps": (lambda body: body["threat"].pop("eps"), "lacks the eps of its threat"),
    "no weights": (
        lambda body: body["models"]["student"].pop("weights"),
        "lacks the weights of its models.student",
    ),
    "an unknown setting of a result": (
        lambda body: body["attacks"]["fgsm"].update(verdict=1),
        "verdict",
    ),
    "a column of text": (
        lambda body: body["attacks"]["fgsm"]["columns"]["student"].update(correct=["a"] * 12),
        "correct must be of type",
    ),
    "a column of flags": (
        lambda body: body["attacks"]["fgsm"]["columns"]["student"].update(correct=[True] * 12),
        "correct must be of type",
    ),
    "bits with a comment": (
        lambda body: body["attacks"]["fgsm"]["columns"]["student"]["correct"].update(note=""),
        "note",
    ),
    "another test set": (
        lambda body: body["full_test"].update(fgsm=body["attacks"]["fgsm"]),
        "different test sets",
    ),
}


@pytest.mark.parametrize("name", EVASION)
def test_a_record_of_attacks_on_test_data_is_refused_for_what_it_contradicts(name: str) -> None:
    change, words = EVASION[name]
    with pytest.raises(BadRecord, match=words) as caught:
        parse_body(forged(record().json(), change), "here")
    assert str(caught.value).startswith("here")


def without_clean(body: Json) -> None:
    body["panel"].remove(CLEAN)
    del body["attacks"][CLEAN]


def test_a_record_without_a_control_is_refused() -> None:
    with pytest.raises(BadRecord, match='panel lacks "clean"'):
        parse_body(forged(record().json(), without_clean), "here")


def test_a_record_about_no_student_is_refused() -> None:
    with pytest.raises(BadRecord, match="lacks the student of its models"):
        parse_body(forged(record().json(), lambda body: body["models"].pop("student")), "here")


def columns(body: Json, attack: str = "badnets:size=2") -> Json:
    of_attack: Json = body["attacks"][attack]["columns"]
    return of_attack


BACKDOOR: dict[str, tuple[Change, str]] = {
    "no student": (lambda body: columns(body).pop("student"), "lacks the student"),
    "a model that is not listed": (
        lambda body: body["models"].pop("control"),
        "models that the record does not list",
    ),
    "other columns of one model": (
        lambda body: columns(body)["control"].pop("recovered"),
        "other columns of one model",
    ),
    "an input both correct and lost": (
        lambda body: columns(body)["student"].update(recovered=bits(100, 100).json()),
        "both correct and as the attack wants",
    ),
    "fewer eligible inputs": (
        lambda body: body["attacks"]["badnets:size=2"].update(eligible=bits(99, 110).json()),
        "another number of samples",
    ),
    "eligible inputs of another test set": (
        lambda body: body["attacks"]["badnets:size=2"].update(eligible=bits(100, 120).json()),
        "another number of examples",
    ),
    "no eligible input": (
        lambda body: body["attacks"]["badnets:size=2"].update(eligible=bits(0, 110).json()),
        "another number of samples",
    ),
}


@pytest.mark.parametrize("name", BACKDOOR)
def test_a_record_of_a_backdoor_is_refused_for_what_it_contradicts(name: str) -> None:
    body = backdoor_record({"student": 3}).json()
    assert parse_body(forged(body, lambda body: None), "here")
    change, words = BACKDOOR[name]
    with pytest.raises(BadRecord, match=words):
        parse_body(forged(body, change), "here")


CANARIES: dict[str, tuple[Change, str]] = {
    "a rank of zero": (
        lambda body: columns(body, "canary-exposure")["student"].update(rank=[0, 2, 3]),
        "outside of its candidates",
    ),
    "a rank behind the last": (
        lambda body: columns(body, "canary-exposure")["student"].update(rank=[1, 2, 1001]),
        "outside of its candidates",
    ),
    "ranks as bits": (
        lambda body: columns(body, "canary-exposure")["student"].update(rank=bits(3, 3).json()),
        "rank must be of type",
    ),
    "fewer ranks": (
        lambda body: columns(body, "canary-exposure")["student"].update(rank=[1, 2]),
        "is no record",
    ),
    "fewer scores": (
        lambda body: columns(body, "canary-exposure")["student"].update(score=[1, 2]),
        "another number of samples",
    ),
    "fewer ids": (
        lambda body: body["attacks"]["canary-exposure"]["samples"].update(ids=[1]),
        "different numbers of samples",
    ),
}


@pytest.mark.parametrize("name", CANARIES)
def test_a_record_of_canaries_is_refused_for_what_it_contradicts(name: str) -> None:
    body = canary_record({"student": [1, 2, 3], "control": [5, 6, 7]}).json()
    assert parse_body(forged(body, lambda body: None), "here")
    change, words = CANARIES[name]
    with pytest.raises(BadRecord, match=words):
        parse_body(forged(body, change), "here")


def test_numbers_that_are_none_are_refused() -> None:
    text = json.dumps(bias_record({"student": 3, "control": 0}).json()).replace("-3.0", "NaN", 1)
    with pytest.raises(BadRecord, match="here is no record"):
        parse(text, "here")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is no record"),
        ("[]", "is no record"),
        ("null", "is no record"),
        ("[" * 100_000, "is no record"),
        ('{"schema": "robustbench-kd.record/2"}', "is no record"),
        ('{"schema": "robustbench-kd.record/1"}', "is no record"),
        ('{"schema": "robustbench-kd.record/99", "id": ""}', "this version reads"),
        ('{"schema": ["robustbench-kd.record/2"]}', "is no record"),
        ("{}", "schema None"),
    ],
)
def test_what_is_no_record_is_refused(text: str, words: str) -> None:
    with pytest.raises(BadRecord, match=words):
        parse(text, "here")
