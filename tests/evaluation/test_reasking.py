"""Verify a planted record: what the networks said is confirmed, whatever was changed is refused."""

from __future__ import annotations

import hashlib
import json
import shlex
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result
from planted import forge, put_short
from torch import Tensor

from robustbench_kd.cli.main import main
from robustbench_kd.core.config import Budget
from robustbench_kd.core.errors import BadModel, BadRecord, RobustbenchError
from robustbench_kd.core.paths import cache
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.types import Examples
from robustbench_kd.evaluation.planting import plant
from robustbench_kd.evaluation.reasking import verify_planted
from robustbench_kd.ops.attacks.quantization import decode
from robustbench_kd.ops.statistics.bitset import pack, unpack
from robustbench_kd.results.artifacts import dump, find_net, undump
from robustbench_kd.results.planted import TWIN, Planted
from robustbench_kd.results.record import Json
from robustbench_kd.results.store import exhibit_name, read_planted
from robustbench_kd.scenarios.digits import Digits

NAME = "digits-backdoor"
TEACHER = "teacher-clean"


def sample() -> Examples:
    return Digits().splits(Seed(), whole=False).test


@pytest.fixture(scope="module")
def school(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache with the networks of one planted run, and its record."""
    folder = tmp_path_factory.mktemp("school")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROBUSTBENCH_KD_CACHE", str(folder))
        put_short(patch)
        plant("distillation", board=NAME, train=True, say=lambda *what: None)
    return folder


@pytest.fixture
def path(school: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The record, to tamper with; its networks are in the cache of this test."""
    put_short(monkeypatch)
    shutil.copytree(school, own_cache)
    (found,) = (own_cache / "records").rglob("*.json")
    return found


def exhibit(path: Path) -> Path:
    return path.parent / exhibit_name(read_planted(path))


def replace_exhibit(path: Path, change: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> None:
    """Other inputs beside the record, and a record that says these are its own."""
    tensors, card = undump(exhibit(path).read_bytes(), "here")
    raw = dump(change(tensors), card)
    forge(path, lambda b: b["exhibit"].update(sha256=hashlib.sha256(raw).hexdigest()))
    exhibit(path).write_bytes(raw)


def margins(record: Planted, name: str, inputs: Tensor) -> Tensor:
    """How far ahead the best answer of a network is."""
    kept = find_net(record.subjects[name].key)
    assert kept is not None
    net = Digits().student(record.subjects[name].net, Seed())
    net.load_state_dict(kept.state)
    best: Tensor = net.eval()(inputs).topk(2, 1).values
    return best[:, 0] - best[:, 1]


def stamped() -> Tensor:
    """The test images that are no zeros, with a white square of two pixels in the corner."""
    test = sample()
    inputs = test.inputs[test.targets != 0].clone()
    inputs[..., -2:, -2:] = 1
    return inputs


def test_what_was_said_is_confirmed_by_asking_every_network_again(path: Path) -> None:
    again = verify_planted(path)
    record = read_planted(path)
    assert (again.networks, again.inputs) == (6, 500 + record.wins)
    close = sum(
        int((margins(record, name, inputs) < 1e-3).sum())
        for name in record.subjects
        for inputs in (sample().inputs, stamped())
    )
    assert abs(again.marginal - close) <= 5, "codes move a pixel by up to 1/254"
    assert again.marginal < 0.02 * again.networks * again.inputs


def test_the_inputs_beside_a_record_are_the_stamped_test_images(path: Path) -> None:
    tensors, _ = undump(exhibit(path).read_bytes(), "here")
    raw = zlib.decompress(tensors["codes"].numpy().tobytes())
    codes = torch.frombuffer(bytearray(raw), dtype=torch.int8)
    test = sample()
    inputs = decode(codes.view(test.inputs.shape), test.inputs, Budget("linf", 1.0))
    torch.testing.assert_close(inputs[test.targets != 0], stamped(), atol=1 / 254 + 1e-6, rtol=0)
    assert torch.equal(tensors["ids"], test.ids)
    assert not tensors["wanted"].any()


@pytest.mark.parametrize(
    ("name", "column", "was"),
    [
        (TEACHER, "right", True),
        (TEACHER, "right", False),
        (TEACHER, "won", True),
        (TEACHER + TWIN, "right", True),
        (TEACHER + TWIN, "true", True),
        ("student", "won", True),
        ("student" + TWIN, "true", True),
        ("control", "right", False),
    ],
)
def test_a_changed_bit_is_refused_though_the_digest_fits(
    name: str, column: str, was: bool, path: Path
) -> None:
    """A bit of an input on which the network is sure of its answer."""
    asked = sample().inputs if column == "right" else stamped()
    sure = (margins(read_planted(path), name, asked) > 0.1).tolist()

    def change(body: Json) -> None:
        one = body["subjects"][name]
        flags = unpack(one[column], len(sure))
        place = next(n for n, flag in enumerate(flags) if flag == was and sure[n])
        flags[place] = not was
        one[column] = pack(flags)

    forge(path, change)
    with pytest.raises(BadRecord, match=rf"does not answer as the record says \(1 of.*{column}"):
        verify_planted(path)


def test_answers_that_change_places_are_refused(path: Path) -> None:
    """The poisoned teacher, said to be the clean one, and the other way round."""

    def change(body: Json) -> None:
        one, twin = (body["subjects"][name] for name in (TEACHER, TEACHER + TWIN))
        for column in ("right", "won", "true"):
            one[column], twin[column] = twin[column], one[column]

    forge(path, change)
    with pytest.raises(BadRecord, match=r"teacher-clean.*does not answer as the record says"):
        verify_planted(path)


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        (("data", "examples"), "0" * 64, "about other images than the ones here"),
        (("data", "ids"), "0" * 64, "about other images than the ones here"),
        (("data", "count"), 504, "the eligible inputs are not those"),
        (("exhibit", "sha256"), "0" * 64, "cannot read"),
        (("scenario",), "nowhere", "no scenario named 'nowhere'"),
        (("seed",), 1, "was not trained as digits-backdoor trains it"),
        (
            ("settings", "target"),
            3,
            "claims other settings than its badnets:size=2 or distillation",
        ),
        (("defense", "settings", "temperature"), 1.0, "claims other settings than its badnets"),
        (("planted", "planted"), 7, "claims to have planted something else"),
        (("subjects", "student", "weights"), "0" * 64, "other weights than those kept of its stu"),
        (("subjects", "student", "net"), "teacher", "weights of its student fit no teacher"),
        (("subjects", "student", "key"), "0" * 64, "its student was not trained as"),
    ],
    ids=str,
)
def test_a_claim_that_was_changed_is_refused(
    field: tuple[str, ...], value: object, says: str, path: Path
) -> None:
    def change(body: Json) -> None:
        *above, last = field
        for name in above:
            body = body[name]
        body[last] = value

    forge(path, change)
    with pytest.raises(RobustbenchError, match=says) as caught:
        verify_planted(path)
    assert "\n" not in str(caught.value)


def test_eligible_bits_that_are_not_what_the_adversary_wanted_are_refused(path: Path) -> None:
    """As many as there were, but a zero among them in place of another digit."""

    def change(body: Json) -> None:
        flags = unpack(body["eligible"], 500)
        mine, other = flags.index(True), flags.index(False)
        flags[mine], flags[other] = False, True
        body["eligible"] = pack(flags)

    forge(path, change)
    with pytest.raises(BadRecord, match="the eligible inputs are not those that the adversary"):
        verify_planted(path)


def test_no_change_of_one_byte_of_the_inputs_is_accepted(path: Path) -> None:
    beside = exhibit(path)
    raw = beside.read_bytes()
    for place in range(0, len(raw), 97):
        beside.write_bytes(raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :])
        with pytest.raises(BadRecord, match="not those its record was made with"):
            verify_planted(path)
    beside.unlink()
    with pytest.raises(BadRecord, match="cannot read"):
        verify_planted(path)


def test_the_inputs_of_another_record_are_refused(path: Path) -> None:
    """Test images without the trigger, handed in as if the poisoned teacher fell for them."""
    blank = dump({"codes": torch.zeros(1, dtype=torch.uint8)}, {})
    genuine = exhibit(path).read_bytes()
    exhibit(path).write_bytes(blank)
    with pytest.raises(BadRecord, match="not those its record was made with"):
        verify_planted(path)
    exhibit(path).write_bytes(genuine)

    def untouched(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        raw = zlib.compress(bytes(sample().inputs.numel()), 9)
        return {**tensors, "codes": torch.frombuffer(bytearray(raw), dtype=torch.uint8)}

    replace_exhibit(path, untouched)
    with pytest.raises(BadRecord, match="does not answer as the record says"):
        verify_planted(path)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda t: {n: t[n] for n in ("ids", "wanted")}, "are damaged"),
        (lambda t: {n: t[n] for n in ("ids", "codes")}, "are damaged"),
        (lambda t: {n: t[n] for n in ("codes", "wanted")}, "are damaged"),
        (lambda t: {**t, "codes": t["codes"][:-9]}, "are damaged"),
        (lambda t: {**t, "wanted": t["wanted"][:-1]}, "are damaged"),
        (lambda t: {**t, "ids": t["ids"].flip(0)}, "about other examples"),
        (lambda t: {**t, "wanted": t["wanted"] + 1}, "the eligible inputs are not those"),
    ],
)
def test_inputs_that_do_not_fit_are_refused_though_their_digest_does(
    change: Callable[[dict[str, Tensor]], dict[str, Tensor]], says: str, path: Path
) -> None:
    replace_exhibit(path, change)
    with pytest.raises(BadRecord, match=says):
        verify_planted(path)


def run(*args: str | Path) -> Result:
    return CliRunner().invoke(main, [str(arg) for arg in args])


def test_a_network_that_is_not_here_can_be_made_again_by_the_command_that_is_named(
    path: Path,
) -> None:
    record = read_planted(path)
    (lost,) = (cache() / "nets").glob("*--distillation--badnets-*")
    lost.unlink()
    with pytest.raises(BadModel, match="the student is not kept here; make it again") as caught:
        verify_planted(path)
    words = shlex.split(str(caught.value).partition("make it again: ")[2])
    assert words[0] == "robustbench-kd"
    assert run("verify", path).exit_code == 2, "which is no refutation"
    ran = run(*words[1:])
    assert ran.exit_code == 0, ran.output
    assert lost.exists()
    assert verify_planted(path).networks == len(record.subjects)


def test_the_command_confirms_or_refutes(path: Path) -> None:
    ran = run("verify", path.parents[1], "--json")
    assert ran.exit_code == 0, ran.output
    found = json.loads(ran.stdout)
    assert found["confirmed"]
    assert [one["networks"] for one in found["records"]] == [6]
    body = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**body, "seed": 3}), encoding="utf-8")
    ran = run("verify", path)
    assert (ran.exit_code, ran.stderr) == (1, "")
    assert ran.stdout.startswith("REFUTED: ")
    assert "its own digest" in ran.stdout
