"""Poisoning: what is changed, what is left alone, and what the poisons are brought near to."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robustbench_kd.attacks._poison import (
    CLASS_COUNT,
    COVER_IDS,
    POISON_IDS,
    TARGET_CLASS,
    TARGET_ID,
)
from robustbench_kd.attacks.poisoning import TargetedPoisoning
from robustbench_kd.attacks.poisoning.bullseye_polytope import BullseyePolytope
from robustbench_kd.attacks.poisoning.feature_collision import FeatureCollision
from robustbench_kd.attacks.poisoning.random_poisons import RandomPoisons
from robustbench_kd.attacks.poisoning.witches_brew import WitchesBrew
from robustbench_kd.core import registry
from robustbench_kd.core.config import Budget, ThreatModel
from robustbench_kd.core.errors import BadSetting
from robustbench_kd.core.protocols import ValidatesData
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.types import PoisonedData, Splits
from robustbench_kd.models.feature_extraction import features
from robustbench_kd.ops.poisoning.gradient_matching import (
    centroid_distance,
    feature_distance,
    gradient_mismatch,
    signed_adam,
    weight_gradient,
)
from robustbench_kd.scenarios.digits import Digits

COUNT = 200
EPS = 0.2
SMALL: dict[str, Any] = {"surrogate": "resnet-4-8", "epochs": 2, "steps": 8}
TARGETED: dict[str, TargetedPoisoning] = {
    "random-poisons": RandomPoisons(rate=0.04, eps=EPS),
    "feature-collision": FeatureCollision(rate=0.04, eps=EPS, **SMALL),
    "bullseye-polytope": BullseyePolytope(rate=0.04, eps=EPS, **SMALL),
    "witches-brew": WitchesBrew(rate=0.04, eps=EPS, batch=5, shift=1, **SMALL),
}
NAMES = sorted(TARGETED)


@cache
def digits() -> Splits:
    """200 digits to train on and 100 to test."""
    data = Digits().splits(Seed(), whole=True)
    test = data.test.take(torch.arange(100))
    return Splits(data.train.take(torch.arange(COUNT)), data.validation, test)


@cache
def poisoned_by(name: str, seed: int = 0) -> PoisonedData[Any]:
    return TARGETED[name].poison(digits(), Seed(seed))


def changed(poisoned: PoisonedData[Any]) -> Tensor:
    """The rows whose images differ from the clean ones."""
    train = digits().train
    return (poisoned.data.train.inputs != train.inputs).flatten(1).any(1).nonzero()[:, 0]


def network(seed: int = 0) -> nn.Module:
    """A drawn network that is no straight line around the images."""
    return Digits().student("resnet-4-8", Seed(seed)).eval()


def never(*_: object) -> None:
    raise AssertionError("something was trained before the refusal")


def target_model() -> Any:
    return Digits().target_model(network())


def test_the_keys_of_stored_states_are_those_of_the_first_release() -> None:
    """Trained models are stored with the state of the attack that they were poisoned by."""
    assert (POISON_IDS, TARGET_ID, TARGET_CLASS) == ("planted", "victim", "wanted")
    assert (COVER_IDS, CLASS_COUNT) == ("covers", "classes")


@pytest.mark.parametrize("name", NAMES)
def test_it_is_registered_and_poisons_the_students_training_data(name: str) -> None:
    entry = registry.find("attacks", name).load()
    assert entry is type(TARGETED[name])
    assert entry().threat == ThreatModel(
        "targeted_poisoning", "student_train_data", "decision_based"
    )
    with pytest.raises(BadSetting, match="its capability is one of student_train_data"):
        entry(capability="test_data")


@pytest.mark.parametrize("name", NAMES)
def test_it_changes_exactly_the_images_that_it_names_and_no_label(name: str) -> None:
    poisoned, train = poisoned_by(name), digits().train
    rows = changed(poisoned)
    assert len(rows) == round(0.04 * COUNT) == 8
    assert sorted(train.ids[rows].tolist()) == sorted(poisoned.attack_state[POISON_IDS].tolist())
    assert torch.equal(poisoned.data.train.ids, train.ids)
    assert torch.equal(poisoned.data.train.targets, train.targets)
    assert set(train.targets[rows].tolist()) == set(poisoned.attack_state[TARGET_CLASS].tolist())


@pytest.mark.parametrize("name", NAMES)
def test_its_poisons_stay_in_the_ball_and_the_box(name: str) -> None:
    inputs = poisoned_by(name).data.train.inputs
    assert float(inputs.min()) >= 0
    assert float(inputs.max()) <= 1
    moved_by = (inputs - digits().train.inputs).abs().flatten(1).amax(1)
    assert float(moved_by.max()) <= EPS + 1e-6
    assert float(moved_by[changed(poisoned_by(name))].min()) > EPS / 4


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_the_same_bits_and_another_seed_others(name: str) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.rand(7)
        again = TARGETED[name].poison(digits(), Seed(0))
    first = poisoned_by(name)
    assert torch.equal(first.data.train.inputs, again.data.train.inputs)
    assert all(
        torch.equal(first.attack_state[key], again.attack_state[key]) for key in first.attack_state
    )
    other = TARGETED[name].poison(digits(), Seed(1))
    assert not torch.equal(first.data.train.inputs, other.data.train.inputs)


@pytest.mark.parametrize("name", NAMES)
def test_it_leaves_the_clean_data_and_the_global_generator_alone(name: str) -> None:
    train = digits().train
    inputs, state = train.inputs.clone(), torch.get_rng_state()
    TARGETED[name].poison(digits(), Seed(3))
    assert torch.equal(train.inputs, inputs)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("name", NAMES)
def test_it_submits_every_test_image_as_it_is_with_a_target_for_one_of_them(name: str) -> None:
    state, test = poisoned_by(name).attack_state, digits().test
    submission = TARGETED[name].attack(target_model(), digits(), state, Seed(0))
    assert torch.equal(submission.ids, test.ids)
    assert torch.equal(submission.inputs, test.inputs)
    assert submission.targets is not None
    rows = (submission.targets != test.targets).nonzero()[:, 0]
    assert test.ids[rows].tolist() == state[TARGET_ID].tolist()
    assert submission.targets[rows].tolist() == state[TARGET_CLASS].tolist()


@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_under_one_seed_all_methods_share_the_target_and_the_poisoned_images(
    seed: int,
) -> None:
    control = RandomPoisons(rate=0.04, eps=EPS).poison(digits(), Seed(seed)).attack_state
    crafted = WitchesBrew(rate=0.04, eps=EPS, **{**SMALL, "steps": 1}).poison(digits(), Seed(seed))
    assert all(torch.equal(control[key], crafted.attack_state[key]) for key in control)


def test_targets_are_never_of_the_target_class_and_differ_from_seed_to_seed() -> None:
    true = {int(i): int(y) for i, y in zip(digits().test.ids, digits().test.targets, strict=True)}
    for target in (None, 3):
        attack = RandomPoisons(rate=0.04, target=target)
        states = [attack.poison(digits(), Seed(n)).attack_state for n in range(40)]
        images = [int(state[TARGET_ID]) for state in states]
        classes = [int(state[TARGET_CLASS]) for state in states]
        assert all(true[image] != label for image, label in zip(images, classes, strict=True))
        assert len(set(images)) > 20
        assert set(classes) == ({3} if target == 3 else set(range(10)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rate": 0.001}, "poisons none of 200"),
        ({"rate": 0.5, "target": 3}, "the rate can be at most"),
        ({"target": 10}, "there is no class 10; the last one is 9"),
        ({"target": -1}, "there is no class -1"),
    ],
)
@pytest.mark.parametrize("name", NAMES)
def test_what_these_data_do_not_allow_is_refused_before_training(
    name: str, changes: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("robustbench_kd.attacks.poisoning._surrogates.fit", never)
    attack = type(TARGETED[name])(**{"rate": 0.04, **changes})
    assert isinstance(attack, ValidatesData)
    with pytest.raises(BadSetting, match=message):
        attack.validate_data(digits().train)
    with pytest.raises(BadSetting, match=message):
        attack.poison(digits(), Seed())


@pytest.mark.parametrize("eps", [0.0, -0.1, 1.5, float("nan")])
@pytest.mark.parametrize("name", NAMES)
def test_a_radius_out_of_range_is_refused(name: str, eps: float) -> None:
    with pytest.raises(BadSetting, match="eps is a distance"):
        type(TARGETED[name])(eps=eps)


def test_an_unknown_network_is_refused_before_training(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("robustbench_kd.attacks.poisoning._surrogates.fit", never)
    with pytest.raises(BadSetting, match="no network named 'vgg'"):
        WitchesBrew(rate=0.04, surrogate="vgg").poison(digits(), Seed())


def test_signed_adam_halves_the_mismatch_and_stays_in_the_ball() -> None:
    attack = TARGETED["witches-brew"]
    assert isinstance(attack, WitchesBrew)
    target = attack.target_example(digits(), Seed(0))
    train = digits().train
    (net,) = attack.train_surrogates(train, Seed(0))
    own = train.take((train.targets == target.targets).nonzero()[:6, 0])
    x, y = own.inputs, own.targets
    goal = weight_gradient(net, target.inputs, target.targets)
    losses: list[float] = []

    def mismatch(z: Tensor) -> Tensor:
        loss = gradient_mismatch(weight_gradient(net, z, y, differentiable=True), goal)
        losses.append(float(loss.detach()))
        return loss

    z = signed_adam(mismatch, x, Budget("linf", EPS), steps=30, stride=0.1, start=x)
    assert losses[-1] < losses[0] / 2
    assert float((z - x).abs().max()) <= EPS + 1e-6
    assert float(z.min()) >= 0
    assert float(z.max()) <= 1


def test_of_more_restarts_the_one_of_least_mismatch_is_used() -> None:
    """More tries are never worse, and on some seed the second is better than the first."""
    outcomes = set()
    for n in range(4):
        data, seed, mismatch = digits(), Seed(n), []
        for restarts in (1, 2):
            attack = WitchesBrew(
                rate=0.04, eps=EPS, restarts=restarts, **{**SMALL, "epochs": 1, "steps": 1}
            )
            poisoned, target = attack.poison(data, seed), attack.target_example(data, seed)
            (net,) = attack.train_surrogates(data.train, seed / "surrogate")
            poisons = poisoned.data.train.named(poisoned.attack_state[POISON_IDS])
            ours = weight_gradient(net, poisons.inputs, poisons.targets)
            goal = weight_gradient(net, target.inputs, target.targets)
            mismatch.append(float(gradient_mismatch(ours, goal)))
        assert mismatch[1] <= mismatch[0] + 1e-6
        outcomes.add(mismatch[1] < mismatch[0] - 1e-6)
    assert outcomes == {True, False}


def features_near(attack: Any, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Features by the surrogate: of the bases, of the poisons, of the target."""
    data = digits()
    poisoned, target = attack.poison(data, Seed(seed)), attack.target_example(data, Seed(seed))
    (net,) = attack.train_surrogates(data.train, Seed(seed) / "surrogate")
    ids = poisoned.attack_state[POISON_IDS]
    with torch.no_grad():
        bases, poisons, target_features = (
            features(net, x)
            for x in (
                data.train.named(ids).inputs,
                poisoned.data.train.named(ids).inputs,
                target.inputs,
            )
        )
    return bases, poisons, target_features


def test_feature_collision_brings_every_poison_nearer_to_the_target() -> None:
    bases, poisons, target_features = features_near(FeatureCollision(rate=0.04, eps=EPS, **SMALL))
    assert bool(
        (
            feature_distance(poisons, target_features)
            < 0.8 * feature_distance(bases, target_features)
        ).all()
    )


def test_a_heavy_beta_keeps_the_poisons_at_their_bases() -> None:
    attack = FeatureCollision(rate=0.04, eps=EPS, beta=1e6, **{**SMALL, "steps": 40})
    moved_by = attack.poison(digits(), Seed()).data.train.inputs - digits().train.inputs
    free = FeatureCollision(rate=0.04, eps=EPS, beta=0, **{**SMALL, "steps": 40})
    moved_freely = free.poison(digits(), Seed()).data.train.inputs - digits().train.inputs
    assert float(moved_by.abs().sum()) < 0.2 * float(moved_freely.abs().sum())


def test_bullseye_brings_the_mean_of_the_poisons_to_the_target() -> None:
    bases, poisons, target_features = features_near(
        BullseyePolytope(rate=0.04, eps=EPS, **{**SMALL, "steps": 30})
    )
    assert float(centroid_distance(poisons, target_features)) < 0.5 * float(
        centroid_distance(bases, target_features)
    )
