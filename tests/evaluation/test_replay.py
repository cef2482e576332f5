"""Verify: what was really seen is confirmed, and whatever was changed is refused by name."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from shutil import copy, copytree

import pytest
import torch
from networks import robust_digits

import robustbench_kd
from robustbench_kd.core.config import Budget
from robustbench_kd.core.errors import BadModel, BadRecord
from robustbench_kd.core.paths import shipped
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.types import Examples
from robustbench_kd.evaluation.verification import verify
from robustbench_kd.models.statistics import weights_digest
from robustbench_kd.ops.attacks.quantization import encode
from robustbench_kd.ops.statistics.bitset import pack, unpack
from robustbench_kd.results.adversarial_examples import Proof, prove, restore
from robustbench_kd.results.artifacts import dump, undump
from robustbench_kd.results.record import Json, digest, summed
from robustbench_kd.scenarios.digits import Digits

COUNT = 60


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A record of the robust digits network under two attacks; it is right on most images."""
    folder = tmp_path_factory.mktemp("measured")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROBUSTBENCH_KD_CACHE", str(folder / "cache"))
        robustbench_kd.evaluate(
            robust_digits(),
            board="digits-linf",
            attacks=("fgsm", "pgd:steps=5"),
            limit=COUNT,
            name="mine",
            out=folder / "out",
        )
    return folder / "out"


@pytest.fixture
def record(measured: Path, tmp_path: Path) -> Path:
    """A copy to tamper with."""
    copytree(measured, tmp_path / "out")
    (path,) = (tmp_path / "out").rglob("*.json")
    return path


def forge(path: Path, change: Callable[[Json], None]) -> None:
    """Changes a record and gives it the digest that fits what it now claims."""
    body = json.loads(path.read_text(encoding="utf-8"))
    body.pop("id")
    change(body)
    path.write_text(json.dumps({**body, "id": digest(body)}), encoding="utf-8")


def flipped(bits: str, count: int, *examples: int) -> list[bool]:
    flags = unpack(bits, count)
    for example in examples:
        flags[example] = not flags[example]
    return flags


def fold(body: Json) -> None:
    """Makes the worst case that of the attacks' bits again."""
    rows = [unpack(cell["bits"], COUNT) for cell in body["cells"]]
    body["robust"] = summed([all(row) for row in zip(*rows, strict=True)])


def broken(body: Json) -> list[int]:
    """The examples that were right and are broken."""
    clean = unpack(body["cells"][0]["bits"], COUNT)
    robust = unpack(body["robust"]["bits"], COUNT)
    return [n for n in range(COUNT) if clean[n] and not robust[n]]


def test_what_was_seen_is_confirmed_by_one_pass_an_input(record: Path) -> None:
    body = json.loads(record.read_text(encoding="utf-8"))
    replay = verify(record, robust_digits())
    assert replay.broken == len(broken(body)) > 3
    assert replay.robust == body["robust"]["hits"] > 20
    assert replay.forward == COUNT + replay.broken


def test_without_the_network_nothing_is_confirmed(record: Path) -> None:
    with pytest.raises(BadModel, match="not kept here"):
        verify(record)
    with pytest.raises(BadModel, match="other weights"):
        verify(record, Digits().student("resnet-8-16", Seed(9)))


def test_an_architecture_that_the_kept_weights_do_not_fit_is_refused(tmp_path: Path) -> None:
    shipping = next((shipped("records") / "digits-linf").glob("ard--seed0--*.json"))
    path = tmp_path / shipping.name
    for end in (".json", ".safetensors"):
        copy(shipping.with_suffix(end), path.with_suffix(end))

    def change(body: Json) -> None:
        body["model"]["net"] = "resnet-8-32"

    assert verify(path).broken > 0
    forge(path, change)
    with pytest.raises(BadRecord, match="the weights kept of ard fit no resnet-8-32"):
        verify(path)


def test_a_robust_example_called_broken_is_refused(record: Path) -> None:
    """Bits, counts, intervals and digest all fit: only the evidence is missing."""

    def change(body: Json) -> None:
        robust = unpack(body["robust"]["bits"], COUNT)
        flags = flipped(body["cells"][1]["bits"], COUNT, robust.index(True))
        body["cells"][1] |= {"bits": pack(flags), "right": sum(flags)}
        fold(body)

    forge(record, change)
    with pytest.raises(BadRecord, match="different examples as broken"):
        verify(record, robust_digits())


def test_a_broken_example_called_robust_is_refused(record: Path) -> None:
    def change(body: Json) -> None:
        example = broken(body)[0]
        for cell in body["cells"]:
            flags = unpack(cell["bits"], COUNT)
            flags[example] = True
            cell |= {"bits": pack(flags), "right": sum(flags)}
        fold(body)

    forge(record, change)
    with pytest.raises(BadRecord, match="different examples as broken"):
        verify(record, robust_digits())


def test_a_wrong_answer_called_right_is_refused(record: Path) -> None:
    """An untouched image that the network gets wrong, in the control's bits and all others."""

    def change(body: Json) -> None:
        wrong = unpack(body["cells"][0]["bits"], COUNT).index(False)
        for cell in body["cells"]:
            flags = unpack(cell["bits"], COUNT)
            flags[wrong] = True
            cell |= {"bits": pack(flags), "right": sum(flags)}
        fold(body)

    forge(record, change)
    with pytest.raises(BadRecord, match="does not answer an untouched input"):
        verify(record, robust_digits())


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        (("model", "weights"), "0" * 64, "other weights"),
        (("data", "examples"), "0" * 64, "other images"),
        (("data", "ids"), "0" * 64, "other images"),
        (("evidence", "sha256"), "0" * 64, "not the one"),
        (("threat", "eps"), 0.0001, "a stored input"),
        (("scenario",), "nowhere", "nowhere"),
    ],
    ids=str,
)
def test_a_claim_that_was_changed_is_refused(
    record: Path, field: tuple[str, ...], value: object, says: str
) -> None:
    def change(body: Json) -> None:
        *above, last = field
        for name in above:
            body = body[name]
        body[last] = value

    forge(record, change)
    with pytest.raises(Exception, match=says) as caught:
        verify(record, robust_digits())
    assert isinstance(caught.value, robustbench_kd.core.errors.RobustbenchError)


def test_no_change_of_one_byte_of_the_evidence_is_accepted(record: Path) -> None:
    path = record.with_suffix(".safetensors")
    raw = path.read_bytes()
    for place in range(0, len(raw), 97):
        path.write_bytes(raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :])
        with pytest.raises(BadRecord, match="not the one its record was made with"):
            verify(record, robust_digits())
    path.unlink()
    with pytest.raises(BadRecord, match="cannot read"):
        verify(record, robust_digits())


def test_evidence_that_breaks_nothing_is_refused_though_its_digest_fits(record: Path) -> None:
    """Codes of zero: the clean images, handed in as if they broke the network."""
    path = record.with_suffix(".safetensors")
    tensors, card = undump(path.read_bytes(), "here")
    rows = int((tensors["broke"] >= 0).sum())
    ids, broke = tensors["ids"], tensors["broke"]
    blank = Proof(ids, broke, torch.zeros(rows, 1, 8, 8, dtype=torch.int8))
    raw = dump(blank.tensors(), card)
    path.write_bytes(raw)

    def change(body: Json) -> None:
        body["evidence"] |= {"sha256": hashlib.sha256(raw).hexdigest(), "bytes": len(raw)}

    forge(record, change)
    with pytest.raises(BadRecord, match="does not answer a stored input as the record says"):
        verify(record, robust_digits())


# --------------------------------------------------------------------------------------- evidence

BALL = Budget("linf", 0.1)


def clean() -> Examples:
    inputs = torch.full((4, 1, 2, 2), 0.5)
    return Examples(torch.tensor([7, 5, 9, 1]), inputs, torch.zeros(4, dtype=torch.int64))


def proof() -> Proof:
    """Row 0 is never right, row 1 falls to the second attack, row 2 to the first, row 3 to none."""
    right = [
        torch.tensor([False, True, True, True]),
        torch.tensor([False, True, False, True]),
        torch.tensor([False, False, False, True]),
    ]
    moved = [clean().inputs + by for by in (0.0, 0.05, -0.1)]
    codes = [encode(z, clean().inputs, BALL) for z in moved]
    return prove(clean().ids, right, codes)


def test_the_first_attack_that_broke_an_example_proves_it() -> None:
    assert proof().broke.tolist() == [-1, 2, 1, -1]
    inputs = proof().inputs(clean(), BALL)
    assert inputs[:, 0, 0, 0].tolist() == pytest.approx([0.5, 0.4, 0.55, 0.5], abs=4e-4)


def test_a_proof_survives_its_file_and_damage_is_named() -> None:
    stored = proof().tensors()
    back = restore(stored, clean(), BALL, "here")
    assert torch.equal(back.codes, proof().codes)
    assert torch.equal(back.broke, proof().broke)
    bad = [
        {name: stored[name] for name in ("ids", "broke")},
        {**stored, "codes": stored["codes"][:-3]},
        {**stored, "broke": torch.full((4,), -1, dtype=torch.int8)},
        {**stored, "ids": stored["ids"].flip(0)},
    ]
    for tensors in bad:
        with pytest.raises(BadRecord, match="the evidence here"):
            restore(tensors, clean(), BALL, "here")


def test_a_record_of_somebodys_network_says_whose_it_is_and_that_it_was_reduced(
    measured: Path,
) -> None:
    (path,) = measured.rglob("*.json")
    body = json.loads(path.read_text(encoding="utf-8"))
    assert body["model"]["weights"] == weights_digest(robust_digits().state_dict())
    assert body["limit"] == COUNT
    assert body["defense"]["label"] == "mine"
