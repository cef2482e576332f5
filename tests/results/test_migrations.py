"""Records of older schemas are read in today's words, and no number of theirs is lost."""

from __future__ import annotations

import copy
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from records import forged
from robustbench_kd.core.aliases import current_label
from robustbench_kd.core.errors import BadRecord
from robustbench_kd.results.migrations import MIGRATIONS, migrated
from robustbench_kd.results.parsing import parse_body
from robustbench_kd.results.record import SCHEMA, Bits, Json, Record
from robustbench_kd.results.store import read_record, save_record

FIXTURES = sorted((Path(__file__).parents[1] / "fixtures").glob("*.json"))
OLD: dict[str, Json] = {path.stem: json.loads(path.read_text()) for path in FIXTURES}


def read(name: str) -> Record:
    return parse_body(OLD[name], name)


def test_every_older_schema_has_a_fixture_and_a_way_to_todays() -> None:
    assert {body["schema"] for body in OLD.values()} == set(MIGRATIONS)
    for body in OLD.values():
        before = copy.deepcopy(body)
        assert migrated(body)["schema"] == SCHEMA
        assert body == before  # pure: what it was given is as it was


@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: path.stem)
def test_an_older_record_survives_being_written_in_todays_schema(
    path: Path, tmp_path: Path
) -> None:
    record = read_record(path)
    new = save_record(record, b"", tmp_path)
    assert record.schema == SCHEMA
    assert read_record(new) == record
    assert read_record(new).claim == record.claim


def leaves(value: Any) -> Iterator[Any]:
    """All plain values, at any depth."""
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from leaves(inner)
    else:
        yield value


def flags_of(body: Json) -> Counter[Any]:
    """Every bit of every column, as 0 and 1."""
    bits: Counter[Any] = Counter()
    for result in body["attacks"].values():
        for columns in result["columns"].values():
            for column in columns.values():
                if isinstance(column, dict):
                    bits.update(map(int, Bits(column["count"], column["bits"]).flags))
    return bits


DERIVED = {
    "record-0": ("robust",),
    "record-1": ("robust",),
    "planted-1": ("wins",),
    **dict.fromkeys(("extraction", "membership"), ("rank", "of")),
}
"""What is not kept, since it follows from bits or scores; by record, or by attack."""


@pytest.mark.parametrize("name", OLD)
def test_no_number_and_no_digest_is_lost(name: str) -> None:
    old = copy.deepcopy(OLD[name])
    for part in ("id", *DERIVED.get(name, ())):
        del old[part]
    for subject in old.get("subjects", {}).values():
        for attack, columns in subject.get("columns", {}).items():
            for column in DERIVED.get(attack, ()):
                columns.pop(column, None)
    if name == "record-0":
        old["epsilon"] = 8 / 255  # it was text
    body = read(name).json()

    def counted(value: Any) -> bool:
        digest = isinstance(value, str) and len(value) == 64
        return digest or (isinstance(value, int | float) and not isinstance(value, bool))

    kept = Counter(filter(counted, leaves(body))) + flags_of(body)
    lost = Counter(filter(counted, leaves(old))) - kept
    assert not lost


# ------------------------------------------------------------------------------------------ evasion


def test_a_draft_keeps_its_numbers() -> None:
    record = read("record-0")
    assert record.threat == {"capability": "test_data", "norm": "linf", "eps": 8 / 255}
    assert list(record.attacks) == ["clean", "fgsm"]
    assert (record.clean.hits, record.worst.hits, record.worst.count) == (9, 5, 12)
    assert (record.compute, record.full_test, record.warnings) == ({"cpu_seconds": 1.5}, {}, ())


@pytest.mark.parametrize(("name", "cells"), [("record-0", "attacks"), ("record-1", "cells")])
def test_every_attack_on_test_data_keeps_its_bits_and_passes(name: str, cells: str) -> None:
    old, record = OLD[name], read(name)
    assert len(record.attacks) == len(old[cells])
    for cell in old[cells]:
        result = record.attacks[current_label("attacks", cell["attack"])]
        correct = result.columns["student"]["correct"]
        assert isinstance(correct, Bits)
        assert (correct.bits, correct.count) == (cell["bits"], cell["count"])
        assert correct.share.hits == cell["right"]
        assert result.passes == {"forward": cell["forward"], "backward": cell["backward"]}
    robust = old["robust"]
    assert record.robust.bits == robust["bits"]
    assert record.worst.hits == robust["hits"]
    assert record.worst.interval == pytest.approx((robust["low"], robust["high"]))


# ---------------------------------------------------------------------------------- poisoned images

ROLES = {"untouched": "pretrained", "teacher-twin": "teacher-unpoisoned"}


def role_of(old: str) -> str:
    plain = old.removesuffix(" (clean twin)")
    return ROLES.get(plain, plain) + (".clean" if plain != old else "")


def test_every_model_of_poisoned_images_keeps_its_bits() -> None:
    old, record = OLD["planted-1"], read("planted-1")
    (attack,) = record.attack_labels
    assert attack == current_label("attacks", old["attack"])
    assert {role_of(name) for name in old["subjects"]} == set(record.models)
    for name, subject in old["subjects"].items():
        role = role_of(name)
        assert record.bits("clean", role, "correct").bits == subject["right"]
        assert record.bits(attack, role, "attack_success").bits == subject["won"]
        assert record.bits(attack, role, "recovered").bits == subject["true"]
        model = record.models[role]
        assert (model["weights"], model["recipe_digest"]) == (subject["weights"], subject["key"])
    eligible = record.attacks[attack].eligible
    assert eligible is not None
    assert (eligible.bits, eligible.share.hits) == (old["eligible"], old["wins"])
    assert list(record.poison.values()) == [
        old["planted"][n] for n in ("planted", "covers", "of", "ids")
    ]
    assert record.evidence == old["exhibit"]
    assert record.capability == "student_train_data"
    assert record.attacks[attack].settings["capability"] == "student_train_data"


# ----------------------------------------------------------------------- texts and generated images

COLUMNS: dict[str, dict[str, str]] = {
    "canary": {"of": "candidates"},
    "extraction": {"greedy": "extracted", "beam": "beam_rank"},
    "membership": {
        name: f"score_{name}"
        for name in ("zlib", "min_k", "min_k_plus_plus", "reference", "lira", "rmia")
    },
    "bias-injection": {"greedy": "attack_success", "drawn": "sampled_success"},
    "prompt-trigger": {
        "hit": "attack_success",
        "right": "preserved",
        "clean_hit": "clean_attack_success",
        "clean_right": "clean_correct",
        "hit2": "attack_success_2",
        "right2": "preserved_2",
        "clean_right2": "clean_correct_2",
    },
}


@pytest.mark.parametrize("name", [name for name in OLD if name.startswith("probed")])
def test_every_model_of_texts_and_images_keeps_its_columns(name: str) -> None:
    old, record = OLD[name], read(name)
    clean = record.attacks["clean"]
    assert clean.samples["tokens"] == old["test"]["asked"]
    assert clean.samples["bytes"] == old["test"]["bytes"]
    for typed, items in old["items"].items():
        label, renamed = current_label("attacks", typed), COLUMNS[typed.partition(":")[0]]
        assert record.attacks[label].samples == {
            "ids": items["ids"],
            "repetitions": items["dose"],
            "format": items["family"],
        }
        for subject, known in old["subjects"].items():
            role = role_of(subject)
            loss = "denoising_loss" if record.scenario == "text-to-image" else "test_nll"
            assert record.numbers("clean", role, loss) == tuple(known["nats"])
            names = known["columns"][typed].keys() - set(DERIVED.get(typed, ()))
            assert len(record.attacks[label].columns[role]) == len(names)
            for name in names:
                values = tuple(known["columns"][typed][name])
                assert record.numbers(label, role, renamed.get(name, name)) == values


def test_a_number_where_a_bit_was_expected_is_refused() -> None:
    def change(body: Json) -> None:
        body["subjects"]["student"]["columns"]["canary"]["exact"][0] = 2

    with pytest.raises(BadRecord, match="exact holds 2 where a bit was expected"):
        parse_body(forged(OLD["probed-1-privacy"], change), "here")


# ------------------------------------------------------------------------------------------- damage


@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: path.stem)
def test_a_flipped_bit_of_an_older_file_is_refused(path: Path, tmp_path: Path) -> None:
    raw = path.read_bytes()
    bad = tmp_path / "bad.json"
    for place in range(7, len(raw), max(1, len(raw) // 60)):
        changed = raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :]
        try:
            if json.loads(changed) == json.loads(raw):
                continue  # between two values
        except ValueError:
            pass
        bad.write_bytes(changed)
        with pytest.raises(BadRecord, match=r"bad\.json"):
            read_record(bad)


FORGERIES: list[tuple[str, Callable[[Json], Any], str]] = [
    ("record-1", lambda body: body["robust"].update(hits=1), "worst case"),
    ("record-1", lambda body: body["robust"].update(bits=body["cells"][0]["bits"]), "worst case"),
    ("record-1", lambda body: body["cells"][1].update(right=1), "its bits do not"),
    ("record-1", lambda body: body["cells"][1].update(count=499), "here"),
    ("record-1", lambda body: body["cells"][1].update(seed=1), "another seed"),
    ("record-1", lambda body: body["cells"].pop(0), 'worst case|panel lacks "clean"'),
    ("record-1", lambda body: body["model"].pop("macs"), "macs"),
    ("planted-1", lambda body: body.update(wins=2), "eligible"),
    ("planted-1", lambda body: body["subjects"].pop("student"), "lacks the student of its models"),
    ("planted-1", lambda body: body["subjects"]["control"].update(true="gA==", won="gA=="), "both"),
    ("planted-1", lambda body: body.update(door="window"), "window"),
    (
        "probed-1-privacy",
        lambda body: body["subjects"]["student"]["nats"].pop(),
        "another number of samples",
    ),
    (
        "probed-1-privacy",
        lambda body: body["subjects"]["student"]["columns"]["canary"]["rank"].__setitem__(0, 0),
        "outside of its candidates",
    ),
    (
        "probed-1-privacy",
        lambda body: body["subjects"]["student"]["columns"].pop("canary"),
        "canary",
    ),
]


@pytest.mark.parametrize(("name", "change", "words"), FORGERIES)
def test_an_older_record_that_contradicts_itself_is_refused_under_a_new_digest(
    name: str, change: Callable[[Json], Any], words: str
) -> None:
    assert parse_body(forged(OLD[name], lambda body: None), "here") == read(name)
    with pytest.raises(BadRecord, match=words):
        parse_body(forged(OLD[name], change), "here")


def test_an_older_file_is_not_changed_by_being_read(tmp_path: Path) -> None:
    for path in FIXTURES:
        copied = Path(shutil.copy(path, tmp_path))
        read_record(copied)
        assert copied.read_bytes() == path.read_bytes()
