"""What every evasion of the catalogue keeps to; a new file is under these laws at once."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
import torch
from networks import robust_digits
from torch import Tensor, nn

from robustbench_kd.core import options, registry
from robustbench_kd.core.config import Budget, Doubt
from robustbench_kd.core.errors import BadSetting
from robustbench_kd.core.protocols import Case
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.types import Examples, Splits, Submission, Tainted
from robustbench_kd.evaluation.scorer import judge
from robustbench_kd.models.classifier import Classifier
from robustbench_kd.models.statistics import weights_digest
from robustbench_kd.ops.attacks.projections import distance
from robustbench_kd.scenarios.digits import Digits

# The bridges are one entry for a whole library, and say nothing before they are given a class.
# Attacks on training data have laws of their own.
NAMES = [
    name
    for name, entry in registry.entries("attacks").items()
    if name not in registry.BRIDGES and entry.load()().threat.door == "input"
]
RADIUS = {"linf": 0.1, "l2": 0.7}
CHEAP = {"steps": 4, "queries": 40, "restarts": 1, "rounds": 2, "targets": 2}
LONGER = {"steps": 30, "rounds": 5}  # enough for the minimum-norm attacks to arrive
COUNT = 20


def evasion(name: str) -> type:
    """The class behind the name."""
    return registry.find("attacks", name).load()


def fields(entry: type) -> set[str]:
    return {field.name for field in dataclasses.fields(entry)}


def cheap(entry: type, **changes: Any) -> Any:
    """The attack with everything that costs time made small."""
    known = fields(entry)
    wanted = {**CHEAP, **changes}
    return entry(**{key: value for key, value in wanted.items() if key in known})


def norms(entry: type) -> tuple[str, ...]:
    return getattr(entry, "norms", ("linf",))


def cheap_in_every_norm(entry: type, **changes: Any) -> list[Any]:
    return [cheap(entry, **{"norm": n, "eps": RADIUS[n], **changes}) for n in norms(entry)]


def splits(count: int = COUNT) -> Splits:
    """Test images alone, as an evasion gets them, in an order that is not that of their ids."""
    test = Digits().splits(Seed(), whole=False).test
    nothing = test.take(torch.zeros(0, dtype=torch.int64))
    return Splits(nothing, nothing, test.take(torch.arange(count).flip(0)))


def ball(attack: Any) -> Budget:
    return attack.threat.budget or Budget("linf", 0.0)


def hand_in(
    attack: Any, data: Splits, net: nn.Module | None = None, seed: Seed | None = None
) -> Submission:
    """What the attack submits, by way of both of its acts."""
    subject = Digits().subject(robust_digits() if net is None else net)
    seed = Seed(1) if seed is None else seed
    secret = attack.before(data, seed / "before").secret
    exhibit = attack.after(subject, data, secret, seed / "after")
    assert isinstance(exhibit, Submission)
    return exhibit


def copies(data: Splits) -> list[Tensor]:
    parts: list[Examples] = [data.train, data.validation, data.test]
    return [value.clone() for part in parts for value in (part.ids, part.inputs, part.targets)]


def same(before: list[Tensor], after: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


class Rounded(torch.autograd.Function):
    """Scores as whole multiples of 2^-12, so that a constant can be added without rounding."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor) -> Tensor:
        return (scores * 4096).round() / 4096

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0]


class Shifted(nn.Module):
    """The robust digits network with a constant added to all of its scores."""

    def __init__(self, constant: float) -> None:
        super().__init__()
        self.net, self.constant = robust_digits(), constant

    def forward(self, x: Tensor) -> Tensor:
        return Rounded.apply(self.net(x)) + self.constant


class Opaque(nn.Module):
    """The robust digits network without any gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.net = robust_digits()

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x).detach()


@pytest.mark.parametrize("name", NAMES)
def test_it_bears_the_name_of_its_file_and_names_its_source(name: str) -> None:
    entry = evasion(name)
    assert entry.name == name
    assert entry.source.strip()
    assert registry.find("attacks", name).summary()
    assert (entry.__doc__ or "").strip()


@pytest.mark.parametrize("name", NAMES)
def test_its_settings_are_frozen_and_survive_json(name: str) -> None:
    entry = evasion(name)
    assert dataclasses.is_dataclass(entry)
    attack = entry()
    for field in fields(entry):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(attack, field, getattr(attack, field))
    written = options.written(attack)
    assert json.loads(json.dumps(written, allow_nan=False)) == written
    assert entry(**written) == attack


@pytest.mark.parametrize("name", NAMES)
def test_impossible_settings_are_refused(name: str) -> None:
    entry = evasion(name)
    for setting, value in {"eps": "-0.1", "norm": "l7", "steps": "0", "queries": "0"}.items():
        if setting in fields(entry):
            with pytest.raises(BadSetting):
                options.configure(entry, {setting: value})
    with pytest.raises(BadSetting, match="no setting 'colour'"):
        options.configure(entry, {"colour": "red"})


@pytest.mark.parametrize("name", NAMES)
def test_before_training_it_hands_the_data_back_as_it_was(name: str) -> None:
    data = splits()
    kept = copies(data)
    tainted = cheap(evasion(name)).before(data, Seed())
    assert isinstance(tainted, Tainted)
    assert same(kept, copies(data))
    assert same(kept, copies(tainted.data))


@pytest.mark.parametrize("name", NAMES)
def test_it_stays_within_ball_and_box_and_submits_every_example(name: str) -> None:
    data = splits()
    for attack in cheap_in_every_norm(evasion(name)):
        exhibit, budget = hand_in(attack, data), ball(attack)
        clean = data.test.named(exhibit.ids).inputs
        assert sorted(exhibit.ids.tolist()) == sorted(data.test.ids.tolist())
        assert exhibit.inputs.shape == clean.shape
        assert exhibit.inputs.dtype == clean.dtype
        assert float(distance(exhibit.inputs, clean, budget.kind).max()) <= budget.amount + 1e-6
        assert float(exhibit.inputs.min()) >= 0
        assert float(exhibit.inputs.max()) <= 1
        for note in exhibit.notes.values():
            assert note.shape == (len(data.test),)


@pytest.mark.parametrize("name", NAMES)
def test_the_judge_takes_what_it_submits_without_a_doubt(name: str) -> None:
    data, ground = splits(), Digits()
    for attack in cheap_in_every_norm(evasion(name)):
        exhibit = hand_in(attack, data)
        subject = ground.subject(robust_digits())
        verdict = judge(exhibit, subject, Case(attack.threat, ground, data))
        assert Doubt.OVER_BUDGET not in verdict.doubts
        assert verdict.columns["right"].shape == (COUNT,)


@pytest.mark.parametrize("name", NAMES)
def test_it_does_not_change_the_inputs_it_is_given(name: str) -> None:
    data = splits()
    kept = copies(data)
    for attack in cheap_in_every_norm(evasion(name)):
        exhibit = hand_in(attack, data)
        assert same(kept, copies(data))
        if attack.threat.budget is not None:
            assert exhibit.inputs.data_ptr() != data.test.inputs.data_ptr()


@pytest.mark.parametrize("name", NAMES)
def test_it_leaves_the_network_as_it_found_it(name: str) -> None:
    """Modes, flags, gradients and weights; the network comes in a mixed state on purpose."""
    net = Digits().student("resnet-8-16", Seed(4)).eval()
    net.training = True  # the root alone, which changes no answer
    net.get_submodule("head").requires_grad_(False)
    modes = [module.training for module in net.modules()]
    flags = [weight.requires_grad for weight in net.parameters()]
    weights, data = weights_digest(net.state_dict()), splits()
    for attack in cheap_in_every_norm(evasion(name)):
        secret = attack.before(data, Seed()).secret
        attack.after(Classifier(net, 10), data, secret, Seed())
        assert [module.training for module in net.modules()] == modes
        assert [weight.requires_grad for weight in net.parameters()] == flags
        assert all(weight.grad is None for weight in net.parameters())
        assert weights_digest(net.state_dict()) == weights


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_the_same_bits_whatever_ran_before(name: str) -> None:
    data = splits()
    for attack in cheap_in_every_norm(evasion(name)):
        once = hand_in(attack, data)
        with torch.random.fork_rng(devices=[]):
            torch.rand(17)
            state = torch.get_rng_state()
            again = hand_in(attack, data)
            assert torch.equal(torch.get_rng_state(), state), "it drew from the global generator"
        assert torch.equal(once.inputs, again.inputs)
        assert once.notes.keys() == again.notes.keys()
        for key, note in once.notes.items():
            torch.testing.assert_close(note, again.notes[key], rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("name", NAMES)
def test_a_radius_of_zero_moves_nothing(name: str) -> None:
    data, entry = splits(), evasion(name)
    for attack in cheap_in_every_norm(entry, eps=0.0):
        exhibit = hand_in(attack, data)
        assert torch.equal(exhibit.inputs, data.test.named(exhibit.ids).inputs)


@pytest.mark.parametrize("name", NAMES)
def test_a_constant_added_to_all_scores_changes_no_verdict(name: str) -> None:
    """The scores are rounded, so that adding 64 is exact; taking 64 away makes all negative."""
    data, ground, entry = splits(), Digits(), evasion(name)
    for norm in norms(entry):
        attack, verdicts = cheap(entry, norm=norm, eps=2 * RADIUS[norm], **LONGER), []
        for constant in (0.0, 64.0, -64.0):
            net = Shifted(constant)
            exhibit = hand_in(attack, data, net)
            verdicts.append(judge(exhibit, ground.subject(net), Case(attack.threat, ground, data)))
        for verdict in verdicts[1:]:
            assert torch.equal(verdict.columns["right"], verdicts[0].columns["right"])


@pytest.mark.parametrize("name", NAMES)
def test_who_does_not_see_the_weights_asks_for_no_gradient(name: str) -> None:
    for attack in cheap_in_every_norm(evasion(name)):
        if attack.threat.sight == "weights":
            subject = Digits().subject(robust_digits())
            attack.after(subject, splits(), attack.before(splits(), Seed()).secret, Seed())
            assert subject.passes.backward > 0, "it may claim less sight than that of the weights"
        else:
            hand_in(attack, splits(), Opaque())


@pytest.mark.parametrize("target", ["random", "least-likely", "3"])
@pytest.mark.parametrize("name", NAMES)
def test_a_targeted_attack_says_what_it_wanted(name: str, target: str) -> None:
    entry, data = evasion(name), splits()
    if "targeted" not in fields(entry):
        pytest.skip(f"{name} has no targeted form")
    for attack in cheap_in_every_norm(entry, targeted=target):
        exhibit, budget = hand_in(attack, data), ball(attack)
        clean = data.test.named(exhibit.ids)
        assert exhibit.wanted is not None
        if target == "3":
            assert bool((exhibit.wanted == 3).all())
        else:
            assert bool((exhibit.wanted != clean.targets).all())
        assert float(distance(exhibit.inputs, clean.inputs, budget.kind).max()) <= (
            budget.amount + 1e-6
        )
