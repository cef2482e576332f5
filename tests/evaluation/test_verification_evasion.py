"""Verifying attacks on test data: what was observed is confirmed, what was changed is refuted."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import robustbench_kd
from records import evasion_record, forge
from robustbench_kd.core.errors import BadModel, BadRecord, MissingData, RobustbenchError
from robustbench_kd.core.seed import Seed
from robustbench_kd.evaluation.replay import load_student
from robustbench_kd.ops.statistics.bitset import pack, unpack
from robustbench_kd.results.artifacts import dump, undump
from robustbench_kd.results.record import Json, Record
from robustbench_kd.results.store import (
    evidence_path,
    load_records,
    read_evidence,
    read_record,
    save_record,
    take_inventory,
)
from robustbench_kd.scenarios.digits import Digits

COUNT = 60
LABELS = ("clean", "fgsm", "pgd:steps=5")
verify = robustbench_kd.verify


def committed(label: str, board: str = "digits-linf") -> Record:
    return next(r for r in load_records(board=board) if (r.label, r.seed) == (label, 0))


def network() -> nn.Module:
    """A robust network that a user brings: the student of ARD, under another name."""
    return load_student(committed("ard"), Digits())


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A record of a user's network under two attacks; it is right on most images."""
    folder = tmp_path_factory.mktemp("measured")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROBUSTBENCH_KD_CACHE", str(folder / "cache"))
        robustbench_kd.evaluate(
            network(),
            board="digits-linf",
            attacks=LABELS,
            limit=COUNT,
            name="of-a-user",
            out=folder / "out",
        )
    return folder / "out"


@pytest.fixture
def path(measured: Path, tmp_path: Path) -> Path:
    """A copy to tamper with."""
    copytree(measured, tmp_path / "out")
    (path,) = (tmp_path / "out").rglob("*.json")
    return path


@pytest.fixture
def shipped_path(tmp_path: Path) -> Path:
    """The committed record of ARD, copied with its evidence, to tamper with."""
    records = take_inventory(None, "digits-linf").records
    (path,) = (path for path, record in records.items() if record.label == "ard")
    return save_record(records[path], read_evidence(records[path], path), tmp_path)


def bits(body: Json, label: str) -> list[bool]:
    column = body["attacks"][label]["columns"]["student"]["correct"]
    return unpack(column["bits"], column["count"])


def set_bits(body: Json, label: str, flags: list[bool]) -> None:
    column = {"count": len(flags), "ones": sum(flags), "bits": pack(flags)}
    body["attacks"][label]["columns"]["student"]["correct"] = column


def robust(body: Json) -> list[bool]:
    return [all(row) for row in zip(*(bits(body, label) for label in LABELS), strict=True)]


def broken(record: Record) -> list[int]:
    """The examples that were correct and are broken."""
    body = record.json()
    return [n for n in range(COUNT) if bits(body, "clean")[n] and not robust(body)[n]]


def test_what_was_observed_is_confirmed_by_one_query_an_input(path: Path) -> None:
    record, verification = read_record(path), verify(path, network())
    assert verification.broken == len(broken(record)) > 3
    assert verification.robust == sum(robust(record.json())) > 20
    assert verification.values == COUNT + len(broken(record))
    assert verification.models == 1
    assert verification.words().startswith("re-queried 1 model; all")


def test_a_record_of_a_users_network_says_whose_it_is_and_that_it_was_reduced(path: Path) -> None:
    record = read_record(path)
    assert record.student["user_model"]
    assert record.student["recipe_digest"] == ""
    assert record.limit == COUNT
    assert record.label == "of-a-user"


def test_without_the_network_nothing_is_shown(path: Path) -> None:
    with pytest.raises(BadModel, match="not stored here; give it by --model"):
        verify(path)
    with pytest.raises(BadModel, match="other weights than the network that was given"):
        verify(path, Digits().student("resnet-8-16", Seed(9)))


def test_a_record_is_found_by_itself_among_the_committed_ones_and_in_the_cache() -> None:
    record = committed("ard")
    assert verify(record).robust == record.robust.number.bit_count()
    (own,) = robustbench_kd.evaluate("ard", board="digits-linf", attacks=["clean"], limit=9)
    assert verify(own).values == 9
    with pytest.raises(MissingData, match="neither in the cache nor among the committed ones"):
        verify(evasion_record("ard"))
    with pytest.raises(MissingData, match="give the path of its file"):
        verify(replace(record, seed=1))


def test_a_student_that_was_given_takes_the_place_of_a_stored_one(
    shipped_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = network()
    monkeypatch.setattr("robustbench_kd.evaluation.trained_models.find_model", lambda key: None)
    with pytest.raises(BadModel, match="make it again: robustbench-kd evaluate --train --board d"):
        verify(shipped_path)
    assert verify(shipped_path, net).broken == 52


def test_attacks_on_the_whole_test_set_are_said_to_be_unchecked() -> None:
    verification = verify(committed("ard", "fashion-linf"))
    assert verification.not_checkable == (
        "attacks on the whole test set, whose inputs are not stored",
    )
    assert "; not checked: attacks on the whole test set" in verification.words()


# ------------------------------------------------------------------------------- changed columns


def test_a_robust_example_that_is_called_broken_is_refuted(path: Path) -> None:
    """Bits, counts and digest all fit: only the evidence is missing."""

    def change(body: Json) -> None:
        flags = bits(body, "fgsm")
        flags[robust(body).index(True)] = False
        set_bits(body, "fgsm", flags)

    forge(path, change)
    with pytest.raises(BadRecord, match="different examples as broken"):
        verify(path, network())


def test_a_broken_example_that_is_called_robust_is_refuted(path: Path) -> None:
    example = broken(read_record(path))[0]

    def change(body: Json) -> None:
        for label in LABELS:
            flags = bits(body, label)
            flags[example] = True
            set_bits(body, label, flags)

    forge(path, change)
    with pytest.raises(BadRecord, match="different examples as broken"):
        verify(path, network())


def test_a_wrong_answer_that_is_called_correct_is_refuted(shipped_path: Path) -> None:
    """A clean image that the network gets wrong, in the columns of every attack."""

    def change(body: Json) -> None:
        example = bits(body, "clean").index(False)
        for label in body["panel"]:
            flags = bits(body, label)
            flags[example] = True
            set_bits(body, label, flags)

    forge(shipped_path, change)
    with pytest.raises(BadRecord, match=r"correct of the clean inputs, 1 of 500 values"):
        verify(shipped_path)


def test_an_attack_is_not_credited_with_what_another_one_broke(path: Path) -> None:
    """The inputs of FGSM, in a record that says that PGD alone broke anything."""

    def change(body: Json) -> None:
        set_bits(body, LABELS[2], robust(body))
        set_bits(body, "fgsm", bits(body, "clean"))

    forge(path, change)
    with pytest.raises(BadRecord, match="fgsm is credited with examples that it did not break"):
        verify(path, network())


# -------------------------------------------------------------------------------- changed claims

CLAIMS: list[tuple[tuple[str, ...], object, str]] = [
    (("models", "student", "weights"), "0" * 64, "other weights than those stored here of its st"),
    (("models", "student", "recipe_digest"), "0" * 64, "student was not trained as digits-linf tr"),
    (("models", "student", "architecture"), "resnet-8-32", "another size or architecture"),
    (("models", "student", "macs"), 7, "claims another size or architecture than its student has"),
    (("models", "student", "parameters"), 7, "another size or architecture"),
    (("models", "teacher-robust", "weights"), "0" * 64, "other weights than those stored here"),
    (("defense", "label"), "rslad", "claims another defense, threat or scenario"),
    (("defense", "settings", "alpha"), 0.5, "claims another defense, threat or scenario"),
    (("defense", "oracle"), True, "claims another defense, threat or scenario"),
    (("defense", "teacher_roles"), [], "claims another defense, threat or scenario"),
    (("scenario",), "nowhere", "claims another defense, threat or scenario"),
    (("seed",), 1, "its student was not trained as digits-linf trains it"),
    (("limit",), 100, "about other test data"),
    (("attacks", "fgsm", "settings", "eps"), 0.01, "claims other settings than fgsm has"),
    (("attacks", "fgsm", "scorer"), "ranking", "claims other settings than fgsm has"),
    (("threat", "eps"), 0.0001, "claims other settings than fgsm has"),
    (("threat", "norm"), "l2", "claims another defense, threat or scenario"),
    (("poison",), {"count": 7}, "is no record: poison must be of dependencies"),
    (("data", "examples"), "0" * 64, "about other test data than those here"),
    (("data", "ids"), "0" * 64, "about other test data than those here"),
    (("evidence", "sha256"), "0" * 64, "lacks its evidence"),
    (("evidence", "rows"), 3, "counts other evidence than lies beside it"),
    (("evidence", "bytes"), 3, "counts other evidence than lies beside it"),
]


def changed(body: Json, field: tuple[str, ...], value: object) -> None:
    *above, last = field
    for name in above:
        body = body[name]
    body[last] = value


@pytest.mark.parametrize(("field", "value", "says"), CLAIMS, ids=lambda part: str(part)[:40])
def test_a_changed_claim_is_refuted_in_one_line(
    field: tuple[str, ...], value: object, says: str, shipped_path: Path
) -> None:
    forge(shipped_path, lambda body: changed(body, field, value))
    with pytest.raises(BadRecord, match=says) as caught:
        verify(shipped_path)
    assert "\n" not in str(caught.value)


def test_the_students_of_two_defenses_cannot_change_places(shipped_path: Path) -> None:
    """All of another defense, but the network."""
    other = committed("rslad").json()
    forge(shipped_path, lambda body: body.update(defense=other["defense"]))
    with pytest.raises(BadRecord, match="its student was not trained as digits-linf trains it"):
        verify(shipped_path)


UNKNOWN: list[tuple[Callable[[Json], object], str]] = [
    (lambda body: body.update(board="theirs"), "no leaderboard named 'theirs'"),
    (lambda body: body["defense"].update(label="theirs"), "no defense named 'theirs'"),
    (lambda body: body["data"].update(dataset_digest="e"), "about another data set than digits"),
]


@pytest.mark.parametrize(("change", "says"), UNKNOWN, ids=["board", "defense", "data"])
def test_what_is_not_installed_here_is_not_checkable_and_not_refuted(
    change: Callable[[Json], object], says: str, shipped_path: Path
) -> None:
    forge(shipped_path, change)
    with pytest.raises(MissingData, match=says):
        verify(shipped_path)


def test_an_attack_that_is_not_installed_here_is_not_checkable(path: Path) -> None:
    def change(body: Json) -> None:
        body["attacks"]["theirs"] = body["attacks"].pop("fgsm")
        body["panel"][1] = "theirs"

    forge(path, change)
    with pytest.raises(MissingData, match="no attack named 'theirs'"):
        verify(path, network())


class Softmax(nn.Module):
    """A network that returns probabilities."""

    def __init__(self) -> None:
        super().__init__()
        self.net = network()

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.net(x)
        return scores.softmax(1)


def test_a_warning_that_was_left_out_is_refuted(tmp_path: Path) -> None:
    options: dict[str, Any] = {"board": "digits-linf", "attacks": ["clean"], "limit": 9}
    robustbench_kd.evaluate(Softmax(), accept_probabilities=True, out=tmp_path / "out", **options)
    (path,) = (tmp_path / "out").rglob("*.json")
    assert verify(path, Softmax()).values == 9
    forge(path, lambda body: body.update(warnings=[]))
    with pytest.raises(BadRecord, match=r"lacks a warning about its student: .*probabil"):
        verify(path, Softmax())


# ------------------------------------------------------------------------------ changed evidence


def beside(path: Path) -> Path:
    inputs = evidence_path(read_record(path), path)
    assert inputs is not None
    return inputs


def replace_evidence(path: Path, change: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> None:
    """Other inputs beside the record, and a record that says these are its own."""
    tensors, metadata = undump(beside(path).read_bytes(), "here")
    raw = dump(change(tensors), metadata)
    digests = {"sha256": hashlib.sha256(raw).hexdigest(), "bytes": len(raw)}
    forge(path, lambda body: body["evidence"].update(digests))
    beside(path).write_bytes(raw)


def damaged(raw: bytes) -> Iterator[bytes]:
    """The bytes with one of them changed, at places spread over the whole."""
    for place in range(0, len(raw), 397):
        yield raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :]


def test_no_change_of_one_byte_of_the_evidence_is_accepted(path: Path) -> None:
    inputs, net = beside(path), network()
    for raw in damaged(inputs.read_bytes()):
        inputs.write_bytes(raw)
        with pytest.raises(BadRecord, match="is not the evidence that"):
            verify(path, net)
    inputs.unlink()
    with pytest.raises(BadRecord, match="lacks its evidence"):
        verify(path, net)


def blank(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Codes of zero: the clean images, as if they broke the network."""
    count = int((tensors["broke"] >= 0).sum()) * 64
    raw = zlib.compress(bytes(count), 9)
    return {**tensors, "codes": torch.frombuffer(bytearray(raw), dtype=torch.uint8)}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (blank, "correct of the stored inputs"),
        (lambda t: {**t, "codes": t["codes"][:-3]}, "is damaged"),
        (lambda t: {n: t[n] for n in ("ids", "broke")}, "is damaged"),
        (lambda t: {**t, "ids": t["ids"].flip(0)}, "about other examples than its record"),
        (lambda t: {**t, "broke": t["broke"].clamp_max(-1)}, "is damaged"),
    ],
    ids=["clean images", "cut", "no codes", "other ids", "nothing broken"],
)
def test_evidence_that_does_not_fit_is_refuted_though_its_digest_does(
    change: Callable[[dict[str, Tensor]], dict[str, Tensor]], says: str, path: Path
) -> None:
    replace_evidence(path, change)
    with pytest.raises(RobustbenchError, match=says) as caught:
        verify(path, network())
    assert isinstance(caught.value, BadRecord)


def test_stored_inputs_outside_of_the_ball_are_refuted(path: Path) -> None:
    """As in a record that was made under a larger radius than it says."""
    (record,) = robustbench_kd.evaluate(
        network(), board="digits-linf", attacks=("fgsm",), eps=0.3, limit=COUNT, out=path.parent
    )
    (larger,) = (p for p in path.parent.rglob("*.json") if p.name.startswith("smallresnet"))

    def change(body: Json) -> None:
        body["threat"]["eps"] = 0.1
        body["attacks"]["fgsm"]["settings"]["eps"] = 0.1

    assert verify(larger, network()).broken == record.clean.hits - record.worst.hits
    forge(larger, change)
    with pytest.raises(BadRecord, match=r"correct of the stored inputs|outside of the ball"):
        verify(larger, network())
