"""What every attack on images satisfies, evasion in particular; a new file is tested at once."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from networks import robust_digits
from small_attacks import (
    acts_on_test_data,
    all_equal,
    digits,
    field_names,
    image_attacks,
    small,
    tensors,
)
from torch import Tensor, nn

from robustbench_kd.core import options, registry
from robustbench_kd.core.config import Budget, EvaluationWarning
from robustbench_kd.core.errors import BadSetting, BadSubmission
from robustbench_kd.core.protocols import ScoringContext
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.submissions import AdversarialInputs
from robustbench_kd.core.types import PoisonedData, SampleScores, Splits
from robustbench_kd.evaluation.attack_runner import AttackRunner, scorer_of
from robustbench_kd.evaluation.scorers._base import VERDICTS
from robustbench_kd.models.classifier import Classifier
from robustbench_kd.models.statistics import weights_digest
from robustbench_kd.ops.attacks.projections import distance
from robustbench_kd.scenarios.digits import Digits

ENTRIES = image_attacks()
# Attacks on training data have further laws of their own.
NAMES = [name for name, entry in ENTRIES.items() if acts_on_test_data(entry)]
RADIUS = {"linf": 0.1, "l2": 0.7}
LONGER = {"steps": 30, "rounds": 5}  # enough for the minimum-norm attacks to arrive
COUNT = 20


def norms(entry: type) -> tuple[str, ...]:
    return getattr(entry, "norms", ("linf",))


def in_every_norm(name: str, **changes: Any) -> list[Any]:
    """The attack within each norm ball that it knows, with small settings."""
    entry = ENTRIES[name]
    return [small(entry, **{"norm": n, "eps": RADIUS[n], **changes}) for n in norms(entry)]


def splits() -> Splits:
    """Test images alone, as an evasion gets them, in an order that is not that of their ids."""
    return digits(0, COUNT)


def ball(attack: Any) -> Budget:
    return attack.threat.budget or Budget("linf", 0.0)


def submit(
    attack: Any, data: Splits, net: nn.Module | None = None, seed: Seed | None = None
) -> AdversarialInputs:
    """What the attack submits against a network, the robust digits one unless another is given."""
    model = Digits().target_model(robust_digits() if net is None else net)
    seed = Seed(1) if seed is None else seed
    state = attack.poison(data, seed / "before").attack_state
    submission = attack.attack(model, data, state, seed / "after")
    assert isinstance(submission, AdversarialInputs)
    return submission


def score(attack: Any, submission: AdversarialInputs, data: Splits, net: nn.Module) -> SampleScores:
    """What our scorer decides on a submission."""
    context = ScoringContext(attack.threat, Digits(), data)
    return scorer_of(attack).score(submission, Digits().target_model(net), context)


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


class FailsOnce(nn.Module):
    """The robust digits network, but its first query raises."""

    def __init__(self) -> None:
        super().__init__()
        self.net, self.queries = robust_digits(), 0

    def forward(self, x: Tensor) -> Tensor:
        self.queries += 1
        if self.queries == 1:
            raise RuntimeError("the model failed")
        return self.net(x)


@pytest.mark.parametrize("name", NAMES)
def test_it_bears_the_name_of_its_file_and_names_its_source(name: str) -> None:
    entry: Any = ENTRIES[name]
    assert entry.name == name
    assert entry.source.strip()
    assert registry.find("attacks", name).summary()
    assert (entry.__doc__ or "").strip()


@pytest.mark.parametrize("name", NAMES)
def test_its_settings_are_frozen_and_survive_json(name: str) -> None:
    entry: Any = ENTRIES[name]
    assert dataclasses.is_dataclass(entry)
    attack = entry()
    for field in field_names(entry):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(attack, field, getattr(attack, field))
    written = options.written(attack)
    assert json.loads(json.dumps(written, allow_nan=False)) == written
    assert entry(**written) == attack


@pytest.mark.parametrize("name", NAMES)
def test_impossible_settings_are_refused(name: str) -> None:
    entry = ENTRIES[name]
    for setting, value in {"eps": "-0.1", "norm": "l7", "steps": "0", "queries": "0"}.items():
        if setting in field_names(entry):
            with pytest.raises(BadSetting):
                options.configure(entry, {setting: value})
    with pytest.raises(BadSetting, match="no setting 'colour'"):
        options.configure(entry, {"colour": "red"})


@pytest.mark.parametrize("name", NAMES)
def test_it_leaves_the_training_data_as_they_are(name: str) -> None:
    data = splits()
    before = tensors(data)
    poisoned = small(ENTRIES[name]).poison(data, Seed())
    assert isinstance(poisoned, PoisonedData)
    assert all_equal(before, tensors(data))
    assert all_equal(before, tensors(poisoned.data))


@pytest.mark.parametrize("name", NAMES)
def test_it_stays_within_ball_and_box_and_submits_every_example(name: str) -> None:
    data = splits()
    for attack in in_every_norm(name):
        submission, budget = submit(attack, data), ball(attack)
        clean = data.test.named(submission.ids).inputs
        assert sorted(submission.ids.tolist()) == sorted(data.test.ids.tolist())
        assert submission.inputs.shape == clean.shape
        assert submission.inputs.dtype == clean.dtype
        assert float(distance(submission.inputs, clean, budget.kind).max()) <= budget.amount + 1e-6
        assert float(submission.inputs.min()) >= 0
        assert float(submission.inputs.max()) <= 1
        for values in submission.metadata.values():
            assert values.shape == (len(data.test),)


@pytest.mark.parametrize("name", NAMES)
def test_its_submission_is_scored_without_a_warning(name: str) -> None:
    data = splits()
    for attack in in_every_norm(name):
        scores = score(attack, submit(attack, data), data, robust_digits())
        assert EvaluationWarning.OVER_BUDGET not in scores.warnings
        assert scores.columns["correct"].shape == (COUNT,)


@pytest.mark.parametrize("name", NAMES)
def test_it_does_not_change_the_inputs_it_is_given(name: str) -> None:
    data = splits()
    before = tensors(data)
    for attack in in_every_norm(name):
        submission = submit(attack, data)
        assert all_equal(before, tensors(data))
        if attack.threat.budget is not None:
            assert submission.inputs.data_ptr() != data.test.inputs.data_ptr()


@pytest.mark.parametrize("name", NAMES)
def test_it_leaves_the_network_as_it_was(name: str) -> None:
    """Modes, flags, gradients and weights; the network comes in a mixed state on purpose."""
    net = Digits().student("resnet-8-16", Seed(4)).eval()
    net.training = True  # the root alone, which changes no answer
    net.get_submodule("head").requires_grad_(False)
    modes = [module.training for module in net.modules()]
    flags = [weight.requires_grad for weight in net.parameters()]
    weights, data = weights_digest(net.state_dict()), splits()
    for attack in in_every_norm(name):
        state = attack.poison(data, Seed()).attack_state
        attack.attack(Classifier(net, 10), data, state, Seed())
        assert [module.training for module in net.modules()] == modes
        assert [weight.requires_grad for weight in net.parameters()] == flags
        assert all(weight.grad is None for weight in net.parameters())
        assert weights_digest(net.state_dict()) == weights


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_the_same_bits_whatever_ran_before(name: str) -> None:
    data = splits()
    for attack in in_every_norm(name):
        once = submit(attack, data)
        with torch.random.fork_rng(devices=[]):
            torch.rand(17)
            state = torch.get_rng_state()
            again = submit(attack, data)
            assert torch.equal(torch.get_rng_state(), state), "it drew from the global generator"
        assert torch.equal(once.inputs, again.inputs)
        assert once.metadata.keys() == again.metadata.keys()
        for key, values in once.metadata.items():
            torch.testing.assert_close(values, again.metadata[key], rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("name", NAMES)
def test_a_radius_of_zero_moves_nothing(name: str) -> None:
    data = splits()
    for attack in in_every_norm(name, eps=0.0):
        submission = submit(attack, data)
        assert torch.equal(submission.inputs, data.test.named(submission.ids).inputs)


@pytest.mark.parametrize("name", NAMES)
def test_a_constant_added_to_all_scores_changes_no_verdict(name: str) -> None:
    """The scores are rounded, so that adding 64 is exact; taking 64 away makes all negative."""
    data, entry = splits(), ENTRIES[name]
    for norm in norms(entry):
        attack, verdicts = small(entry, norm=norm, eps=2 * RADIUS[norm], **LONGER), []
        for constant in (0.0, 64.0, -64.0):
            net = Shifted(constant)
            scores = score(attack, submit(attack, data, net), data, net)
            verdicts.append(scores.columns["correct"])
        for verdict in verdicts[1:]:
            assert torch.equal(verdict, verdicts[0])


@pytest.mark.parametrize("name", NAMES)
def test_an_attack_that_is_not_white_box_uses_no_gradient(name: str) -> None:
    for attack in in_every_norm(name):
        if attack.threat.knowledge == "white_box":
            model = Digits().target_model(robust_digits())
            attack.attack(model, splits(), attack.poison(splits(), Seed()).attack_state, Seed())
            assert model.passes.backward > 0, "it needs less knowledge than it claims"
        else:
            submit(attack, splits(), Opaque())


@pytest.mark.parametrize("target", ["random", "least-likely", "3"])
@pytest.mark.parametrize("name", NAMES)
def test_a_targeted_attack_submits_its_targets(name: str, target: str) -> None:
    entry, data = ENTRIES[name], splits()
    if "targeted" not in field_names(entry):
        pytest.skip(f"{name} has no targeted form")
    for attack in in_every_norm(name, targeted=target):
        submission, budget = submit(attack, data), ball(attack)
        clean = data.test.named(submission.ids)
        assert submission.targets is not None
        if target == "3":
            assert bool((submission.targets == 3).all())
        else:
            assert bool((submission.targets != clean.targets).all())
        assert float(distance(submission.inputs, clean.inputs, budget.kind).max()) <= (
            budget.amount + 1e-6
        )


@pytest.mark.parametrize("name", ENTRIES)
def test_metadata_that_claim_a_verdict_make_no_row(name: str) -> None:
    attack, data = small(ENTRIES[name]), digits(400, COUNT)
    submission = submit(attack, data)
    assert score(attack, submission, data, robust_digits()).columns
    for claim in (*VERDICTS, "score_of_mine"):
        metadata = {**submission.metadata, claim: torch.zeros(COUNT)}
        with pytest.raises(BadSubmission, match=f"{claim!r}, which is for the scorer to decide"):
            score(attack, dataclasses.replace(submission, metadata=metadata), data, robust_digits())


@pytest.mark.parametrize("name", ENTRIES)
def test_a_model_that_raises_when_it_is_queried_makes_no_row(name: str, own_cache: Path) -> None:
    """Neither attack nor scorer may go on where a query failed, and nothing may be stored."""
    attack, data = small(ENTRIES[name]), digits(400, COUNT)
    runner = AttackRunner(Digits(), data, 0)
    if not acts_on_test_data(ENTRIES[name]):
        state = attack.poison(data, Seed()).attack_state
        runner = AttackRunner(Digits(), data, 0, states={name: state}, poison="a key")
    with pytest.raises(RuntimeError, match="the model failed"):
        runner.run(name, attack, FailsOnce(), "a digest")
    assert not any(path.is_file() for path in own_cache.rglob("*"))
    runner.run(name, attack, robust_digits(), "a digest")
    assert any(path.is_file() for path in own_cache.rglob("*"))
