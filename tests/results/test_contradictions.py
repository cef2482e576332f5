"""Records of poisoned data that are damaged or contradict themselves are refused by name."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from records import INELIGIBLE, TEACHER, backdoor_record, canary_record, first, forged
from robustbench_kd.core.errors import BadRecord
from robustbench_kd.ops.statistics.bitset import pack, unpack
from robustbench_kd.results.parsing import parse_body
from robustbench_kd.results.record import Bits, Json

ATTACK = "badnets:size=2"


def body() -> Json:
    """Of twenty eligible inputs three succeed on the student, fifteen on its teacher."""
    record = backdoor_record({TEACHER: 15, "student": 3}, eligible=20)
    return json.loads(json.dumps(record.json()))


def set_column(role: str, name: str, flags: list[bool]) -> Callable[[Json], object]:
    column = Bits.of(flags).json()
    return lambda b: b["attacks"][ATTACK]["columns"][role].update({name: column})


def set_eligible(flags: list[bool]) -> Callable[[Json], object]:
    return lambda b: b["attacks"][ATTACK].update(eligible=Bits.of(flags).json())


def without(*path: str) -> Callable[[Json], object]:
    *parents, name = path

    def remove(b: Json) -> None:
        part = b
        for parent in parents:
            part = part[parent]
        part.pop(name)

    return remove


def test_a_forgery_that_changes_nothing_is_read() -> None:
    """So that what is refused below is refused for its change."""
    record = parse_body(forged(body(), lambda b: None), "here")
    assert record == backdoor_record({TEACHER: 15, "student": 3}, eligible=20)


def test_a_flipped_bit_does_not_match_the_digest() -> None:
    for attack, result in body()["attacks"].items():
        for role, columns in result["columns"].items():
            for name, column in columns.items():
                changed = body()
                flags = unpack(column["bits"], column["count"])
                flags[4] = not flags[4]
                packed = changed["attacks"][attack]["columns"][role][name]
                packed["bits"] = pack(flags)
                with pytest.raises(BadRecord, match="here does not match its own digest"):
                    parse_body(changed, "here")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (set_eligible(first(19, 20 + INELIGIBLE)), "another number of samples than it lists"),
        (set_eligible(first(0, 20 + INELIGIBLE)), "another number of samples than it lists"),
        (set_eligible(first(20, 40)), "eligible inputs among another number of examples"),
        (lambda b: b["data"].update(count=17), "another number of samples"),
        (set_column("student", "recovered", [True] * 20), "both correct and as the attack wants"),
        (set_column("student", "attack_success", first(4, 20)), "both correct and as the attack"),
        (set_column("student", "recovered", first(9, 200)), "another number of samples"),
        (
            lambda b: b["attacks"][ATTACK]["columns"]["student"]["recovered"].update(ones=9),
            "counts 9 ones, its bits do not",
        ),
        (without("attacks", ATTACK, "columns", "student", "recovered"), "other columns of one"),
        (without("models", "student"), "lacks the student of its models"),
        (without("models", "control"), "models that the record does not list"),
        (without("models", TEACHER, "weights"), "lacks the weights of its models.teacher-clean"),
        (without("attacks", "clean"), "lacks the clean of its attacks"),
        (lambda b: b.update(colour="red"), "holds 'colour', which no record"),
        (without("seed"), "it lacks the seed"),
        (without("data", "examples"), "lacks the examples of its data"),
    ],
)
def test_a_record_that_contradicts_itself_is_refused(
    change: Callable[[Json], object], message: str
) -> None:
    with pytest.raises(BadRecord, match=message):
        parse_body(forged(body(), change), "here")


def test_a_rank_outside_of_its_candidates_is_refused() -> None:
    for rank, candidates in ((0, 10), (11, 10)):
        record = canary_record({"student": [1, rank]}, candidates=candidates)
        with pytest.raises(BadRecord, match="a rank of student is outside of its candidates"):
            parse_body(json.loads(json.dumps(record.json())), "here")
