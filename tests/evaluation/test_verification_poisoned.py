"""Verifying attacks on training data: every model is queried again with the stored inputs."""

from __future__ import annotations

import hashlib
import shlex
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from short_run import ATTACK, TEACHER, evaluated, put_trained
from torch import Tensor

import robustbench_kd
from records import forge
from robustbench_kd.core.config import Budget
from robustbench_kd.core.errors import BadModel, BadRecord
from robustbench_kd.core.paths import cache
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.types import Examples
from robustbench_kd.ops.attacks.quantization import decode
from robustbench_kd.ops.statistics.bitset import pack, unpack
from robustbench_kd.results.artifacts import dump, find_model, undump
from robustbench_kd.results.record import COUNTERPART, Json, Record
from robustbench_kd.results.store import evidence_path, read_record
from robustbench_kd.scenarios.digits import Digits

ROLES = 6
verify = robustbench_kd.verify


def sample() -> Examples:
    return Digits().splits(Seed(), whole=False).test


@pytest.fixture
def path(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The record, to tamper with; its models are in the cache of this test."""
    put_trained(own_cache, monkeypatch)
    (path,) = (own_cache / "records").rglob("*.json")
    return path


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


def deflated(codes: bytes) -> Tensor:
    return torch.frombuffer(bytearray(zlib.compress(codes, 9)), dtype=torch.uint8)


def margins(record: Record, role: str, inputs: Tensor) -> Tensor:
    """How far ahead the best answer of a model is."""
    model = find_model(record.models[role]["recipe_digest"])
    assert model is not None
    net = Digits().student(record.models[role]["architecture"], Seed())
    net.load_state_dict(model.state)
    best: Tensor = net.eval()(inputs).topk(2, 1).values
    return best[:, 0] - best[:, 1]


def triggered() -> Tensor:
    """The test images that are no zeros, with a white square of two pixels in the corner."""
    test = sample()
    inputs = test.inputs[test.targets != 0].clone()
    inputs[..., -2:, -2:] = 1
    return inputs


def test_every_recorded_value_is_confirmed_by_querying_every_model_again(path: Path) -> None:
    verification, record = verify(path), read_record(path)
    eligible = int((sample().targets != 0).sum())
    assert verification.models == ROLES
    assert verification.values == ROLES * (500 + 2 * eligible)
    close = sum(
        weight * int((margins(record, role, inputs) < 1e-3).sum())
        for role in record.models
        for weight, inputs in ((1, sample().inputs), (2, triggered()))
    )
    assert abs(verification.marginal - close) <= 5, "codes move a pixel by up to 1/254"
    assert verification.marginal < 0.02 * verification.values
    assert (verification.broken, verification.robust) == (None, None)


def test_a_record_of_evaluate_is_verified_without_its_path(path: Path) -> None:
    assert verify(evaluated(train=False)) == verify(path)


def test_the_inputs_beside_a_record_are_the_triggered_test_images(path: Path) -> None:
    tensors, _ = undump(beside(path).read_bytes(), "here")
    raw = zlib.decompress(tensors["codes"].numpy().tobytes())
    codes = torch.frombuffer(bytearray(raw), dtype=torch.int8)
    test = sample()
    inputs = decode(codes.view(test.inputs.shape), test.inputs, Budget("linf", 1.0))
    torch.testing.assert_close(inputs[test.targets != 0], triggered(), atol=1 / 254 + 1e-6, rtol=0)
    assert torch.equal(tensors["ids"], test.ids)
    assert not tensors["wanted"].any()


# -------------------------------------------------------------------------------- changed columns

FLIPS = [
    (TEACHER, "correct", True),
    (TEACHER, "correct", False),
    (TEACHER, "attack_success", True),
    (TEACHER + COUNTERPART, "correct", True),
    (TEACHER + COUNTERPART, "recovered", True),
    ("student", "attack_success", True),
    ("student" + COUNTERPART, "recovered", True),
    ("control", "correct", False),
]


def set_bits(body: Json, role: str, name: str, flags: list[bool]) -> None:
    label = "clean" if name == "correct" else ATTACK
    column = {"count": len(flags), "ones": sum(flags), "bits": pack(flags)}
    body["attacks"][label]["columns"][role][name] = column


@pytest.mark.parametrize(("role", "name", "before"), FLIPS)
def test_one_changed_bit_is_refuted_though_the_digest_fits(
    role: str, name: str, before: bool, path: Path
) -> None:
    """A bit of an input on which the model is sure of its answer."""
    inputs = sample().inputs if name == "correct" else triggered()
    sure = (margins(read_record(path), role, inputs) > 0.1).tolist()
    label = "clean" if name == "correct" else ATTACK

    def change(body: Json) -> None:
        column = body["attacks"][label]["columns"][role][name]
        flags = unpack(column["bits"], column["count"])
        place = next(n for n, flag in enumerate(flags) if flag == before and sure[n])
        flags[place] = not before
        set_bits(body, role, name, flags)

    forge(path, change)
    with pytest.raises(BadRecord, match=rf"{name} of {label} on {role}, 1 of \d+ values"):
        verify(path)


def test_models_that_change_places_are_refuted(path: Path) -> None:
    """The poisoned teacher, said to be the clean one, and the other way round."""

    def change(body: Json) -> None:
        for result in body["attacks"].values():
            columns = result["columns"]
            poisoned, clean = columns[TEACHER], columns[TEACHER + COUNTERPART]
            columns[TEACHER], columns[TEACHER + COUNTERPART] = clean, poisoned

    forge(path, change)
    with pytest.raises(BadRecord, match="says otherwise than the model answers: correct of clean"):
        verify(path)


def test_eligible_bits_that_are_not_what_the_adversary_wants_are_refuted(path: Path) -> None:
    """As many as there were, but a zero among them in place of another digit."""

    def change(body: Json) -> None:
        eligible = body["attacks"][ATTACK]["eligible"]
        flags = unpack(eligible["bits"], 500)
        own, other = flags.index(True), flags.index(False)
        flags[own], flags[other] = False, True
        eligible["bits"] = pack(flags)

    forge(path, change)
    with pytest.raises(BadRecord, match="the eligible inputs are not those that the adversary"):
        verify(path)


# --------------------------------------------------------------------------------- changed claims

STUDENT = ("models", "student")
CLAIMS: list[tuple[tuple[str, ...], object, str]] = [
    (("data", "examples"), "0" * 64, "about other test data than those here"),
    (("data", "ids"), "0" * 64, "about other test data than those here"),
    (("data", "classes"), 9, "about other test data than those here"),
    (("evidence", "sha256"), "0" * 64, "lacks its evidence"),
    (("scenario",), "nowhere", "claims another defense, threat or scenario"),
    (("threat", "capability"), "student_train_data", "another defense, threat or scenario"),
    (("defense", "settings", "temperature"), 1.0, "claims another defense, threat or scenario"),
    (("defense", "label"), "ard", "claims another defense, threat or scenario"),
    (("defense", "oracle"), True, "claims another defense, threat or scenario"),
    (("attacks", ATTACK, "settings", "target"), 3, f"claims other settings than {ATTACK} has"),
    (("poison", "count"), 7, "claims another poison than its attacks insert"),
    (("poison", "train_size"), 70_000, "claims another poison than its attacks insert"),
    (("poison", "ids_digest"), "0" * 64, "claims another poison than its attacks insert"),
    ((*STUDENT, "architecture"), "teacher", "another size or architecture than its student has"),
    ((*STUDENT, "recipe_digest"), "0" * 64, "its student was not trained as digits-backdoor"),
]


@pytest.mark.parametrize(("field", "value", "says"), CLAIMS, ids=lambda part: str(part)[:40])
def test_a_changed_claim_is_refuted_in_one_line(
    field: tuple[str, ...], value: object, says: str, path: Path
) -> None:
    def change(body: Json) -> None:
        *above, last = field
        for name in above:
            body = body[name]
        body[last] = value

    forge(path, change)
    with pytest.raises(BadRecord, match=says) as caught:
        verify(path)
    assert "\n" not in str(caught.value)


def test_another_seed_is_refuted_by_its_poison(path: Path) -> None:
    forge(path, lambda body: body.update(seed=1))
    with pytest.raises(BadRecord, match="claims another poison than its attacks insert"):
        verify(path)


def test_a_role_that_is_missing_or_too_many_is_refuted(path: Path) -> None:
    def change(body: Json) -> None:
        body["models"]["teacher-robust"] = body["models"][TEACHER]

    forge(path, change)
    with pytest.raises(BadRecord, match="about other models than its leaderboard compares"):
        verify(path)


def test_other_weights_of_a_model_that_was_trained_here_are_not_checkable(path: Path) -> None:
    """They may be another machine's, who trained by the same recipe."""
    forge(path, lambda body: body["models"]["student"].update(weights="0" * 64))
    with pytest.raises(BadModel, match="about other weights than those stored here of its student"):
        verify(path)


# ------------------------------------------------------------------------------- changed evidence


def test_no_change_of_one_byte_of_the_inputs_is_accepted(path: Path) -> None:
    inputs = beside(path)
    raw = inputs.read_bytes()
    for place in range(0, len(raw), 397):
        inputs.write_bytes(raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :])
        with pytest.raises(BadRecord, match="is not the evidence that"):
            verify(path)
    inputs.unlink()
    with pytest.raises(BadRecord, match="lacks its evidence"):
        verify(path)


def test_inputs_without_the_trigger_are_refuted_whatever_the_models_answer(path: Path) -> None:
    """Test images as they are, on which every backdoor looks harmless."""
    replace_evidence(path, lambda t: {**t, "codes": deflated(bytes(sample().inputs.numel()))})
    with pytest.raises(BadRecord, match=f"are not those that {ATTACK} submits"):
        verify(path)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda t: {n: t[n] for n in ("ids", "wanted")}, "are damaged"),
        (lambda t: {n: t[n] for n in ("ids", "codes")}, "are damaged"),
        (lambda t: {n: t[n] for n in ("codes", "wanted")}, "are damaged"),
        (lambda t: {**t, "codes": t["codes"][:-9]}, "are damaged"),
        (lambda t: {**t, "wanted": t["wanted"][:-1]}, "are damaged"),
        (lambda t: {**t, "ids": t["ids"].flip(0)}, "about other examples"),
        (lambda t: {**t, "wanted": t["wanted"] + 1}, f"are not those that {ATTACK} submits"),
    ],
    ids=["no codes", "no targets", "no ids", "cut", "few targets", "other ids", "other targets"],
)
def test_inputs_that_do_not_fit_are_refuted_though_their_digest_does(
    change: Callable[[dict[str, Tensor]], dict[str, Tensor]], says: str, path: Path
) -> None:
    replace_evidence(path, change)
    with pytest.raises(BadRecord, match=says):
        verify(path)


def test_a_model_that_is_not_here_can_be_made_again_by_the_command_that_is_named(
    path: Path,
) -> None:
    (lost,) = (cache() / "nets").glob("*--distillation--badnets-*")
    lost.unlink()
    with pytest.raises(BadModel, match="not stored here; make it again") as caught:
        verify(path)
    words = shlex.split(str(caught.value).partition("make it again: ")[2])
    assert words[:3] == ["robustbench-kd", "evaluate", "--train"]
    options = dict(zip(words[3::2], words[4::2], strict=True))
    assert options == {
        "--board": "digits-backdoor",
        "--defense": "distillation",
        "--seed": "0",
        "--attack": ATTACK,
    }
    evaluated(options["--defense"], attacks=[options["--attack"]], board=options["--board"])
    assert lost.exists()
    assert verify(path).models == ROLES


def test_a_damaged_model_is_named_and_refutes_nothing(path: Path) -> None:
    (damaged,) = (cache() / "nets").glob("*--distillation--badnets-*")
    raw = bytearray(damaged.read_bytes())
    raw[-1] ^= 1
    damaged.write_bytes(bytes(raw))
    with pytest.raises(BadModel, match="does not hold the weights that its metadata name"):
        verify(path)
