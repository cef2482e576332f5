"""Poisonings: what they plant, what they leave alone, and what they bring nearer to what."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robustbench_kd.attacks.poisoning._base import Targeted
from robustbench_kd.attacks.poisoning.bullseye import Bullseye
from robustbench_kd.attacks.poisoning.feature_collision import FeatureCollision
from robustbench_kd.attacks.poisoning.label_flip import LabelFlip
from robustbench_kd.attacks.poisoning.random_poisons import RandomPoisons
from robustbench_kd.attacks.poisoning.witches_brew import WitchesBrew
from robustbench_kd.core import registry
from robustbench_kd.core.config import Budget, Schedule
from robustbench_kd.core.errors import BadModel, BadSetting
from robustbench_kd.core.protocols import Brief
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.types import Examples, Splits, Tainted
from robustbench_kd.defenses.transfer import Transfer
from robustbench_kd.models.head import features, head_of
from robustbench_kd.ops.poisoning.gradient_matching import (
    collision,
    mismatch,
    moved,
    off_centre,
    signed_descent,
    weight_gradient,
)
from robustbench_kd.scenarios.digits import Digits

COUNT = 200
EPS = 0.2
SMALL = {"surrogate": "resnet-4-8", "epochs": 2, "steps": 8}
TARGETED: dict[str, Targeted] = {
    "random-poisons": RandomPoisons(rate=0.04, eps=EPS),
    "feature-collision": FeatureCollision(rate=0.04, eps=EPS, **SMALL),
    "bullseye": Bullseye(rate=0.04, eps=EPS, **SMALL),
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
def planted(name: str, seed: int = 0) -> Tainted[Any]:
    return TARGETED[name].before(digits(), Seed(seed))


def changed(tainted: Tainted[Any]) -> Tensor:
    """The rows whose images differ from the clean ones."""
    train = digits().train
    return (tainted.data.train.inputs != train.inputs).flatten(1).any(1).nonzero()[:, 0]


def network(seed: int = 0) -> nn.Module:
    """A drawn network that is no straight line around the images."""
    return Digits().student("resnet-4-8", Seed(seed)).eval()


def never(*_: object) -> None:
    raise AssertionError("something was trained before the refusal")


def subject() -> Any:
    return Digits().subject(network())


@pytest.mark.parametrize("name", NAMES)
def test_it_is_an_entry_of_the_catalogue_and_plants_behind_the_students_door(name: str) -> None:
    entry = registry.find("attacks", name).load()
    assert entry is type(TARGETED[name])
    assert entry().threat.goal == "implant"
    assert entry().threat.door == "student data"


@pytest.mark.parametrize("name", NAMES)
def test_it_moves_exactly_the_planted_images_and_no_label(name: str) -> None:
    tainted, train = planted(name), digits().train
    rows = changed(tainted)
    assert len(rows) == round(0.04 * COUNT) == 8
    assert sorted(train.ids[rows].tolist()) == sorted(tainted.secret["planted"].tolist())
    assert torch.equal(tainted.data.train.ids, train.ids)
    assert torch.equal(tainted.data.train.targets, train.targets)
    assert set(train.targets[rows].tolist()) == set(tainted.secret["wanted"].tolist())


@pytest.mark.parametrize("name", NAMES)
def test_its_poisons_stay_in_the_ball_and_the_box(name: str) -> None:
    inputs = planted(name).data.train.inputs
    assert float(inputs.min()) >= 0
    assert float(inputs.max()) <= 1
    spent = (inputs - digits().train.inputs).abs().flatten(1).amax(1)
    assert float(spent.max()) <= EPS + 1e-6
    assert float(spent[changed(planted(name))].min()) > EPS / 4


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_plants_the_same_bits_and_another_seed_others(name: str) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.rand(7)
        again = TARGETED[name].before(digits(), Seed(0))
    once = planted(name)
    assert torch.equal(once.data.train.inputs, again.data.train.inputs)
    assert all(torch.equal(once.secret[key], again.secret[key]) for key in once.secret)
    other = TARGETED[name].before(digits(), Seed(1))
    assert not torch.equal(once.data.train.inputs, other.data.train.inputs)


@pytest.mark.parametrize("name", NAMES)
def test_it_leaves_the_clean_data_and_the_global_generator_alone(name: str) -> None:
    train = digits().train
    inputs, state = train.inputs.clone(), torch.get_rng_state()
    TARGETED[name].before(digits(), Seed(3))
    assert torch.equal(train.inputs, inputs)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("name", NAMES)
def test_it_hands_in_every_test_image_as_it_is_and_wants_one_of_them_mistaken(name: str) -> None:
    secret, test = planted(name).secret, digits().test
    handed = TARGETED[name].after(subject(), digits(), secret, Seed(0))
    assert torch.equal(handed.ids, test.ids)
    assert torch.equal(handed.inputs, test.inputs)
    assert handed.wanted is not None
    off = (handed.wanted != test.targets).nonzero()[:, 0]
    assert test.ids[off].tolist() == secret["victim"].tolist()
    assert handed.wanted[off].tolist() == secret["wanted"].tolist()


@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_under_one_seed_all_methods_have_the_same_victim_and_the_same_images(seed: int) -> None:
    control = RandomPoisons(rate=0.04, eps=EPS).before(digits(), Seed(seed)).secret
    brewed = WitchesBrew(rate=0.04, eps=EPS, **{**SMALL, "steps": 1}).before(digits(), Seed(seed))
    assert all(torch.equal(control[key], brewed.secret[key]) for key in control)


def test_victims_are_never_of_the_wanted_class_and_differ_from_seed_to_seed() -> None:
    true = {int(i): int(y) for i, y in zip(digits().test.ids, digits().test.targets, strict=True)}
    for target in (None, 3):
        attack = RandomPoisons(rate=0.04, target=target)
        secrets = [attack.before(digits(), Seed(n)).secret for n in range(40)]
        victims = [int(secret["victim"]) for secret in secrets]
        wanted = [int(secret["wanted"]) for secret in secrets]
        assert all(true[victim] != want for victim, want in zip(victims, wanted, strict=True))
        assert len(set(victims)) > 20
        assert set(wanted) == ({3} if target == 3 else set(range(10)))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"rate": 0.001}, "plants none of 200"),
        ({"rate": 0.5, "target": 3}, "the rate can be at most"),
        ({"target": 10}, "there is no class 10; the last one is 9"),
        ({"target": -1}, "there is no class -1"),
    ],
)
@pytest.mark.parametrize("name", NAMES)
def test_what_these_data_cannot_bear_is_refused_before_training(
    name: str, changes: dict[str, Any], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("robustbench_kd.attacks.poisoning._surrogates.fit", never)
    with pytest.raises(BadSetting, match=says):
        type(TARGETED[name])(**{"rate": 0.04, **changes}).before(digits(), Seed())


@pytest.mark.parametrize("eps", [0.0, -0.1, 1.5, float("nan")])
@pytest.mark.parametrize("name", NAMES)
def test_a_radius_out_of_range_is_refused(name: str, eps: float) -> None:
    with pytest.raises(BadSetting, match="eps is a distance"):
        type(TARGETED[name])(eps=eps)


def test_a_network_that_nobody_knows_is_refused_before_training(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("robustbench_kd.attacks.poisoning._surrogates.fit", never)
    with pytest.raises(BadSetting, match="no network named 'vgg'"):
        WitchesBrew(rate=0.04, surrogate="vgg").before(digits(), Seed())


def test_mismatch_is_0_for_the_same_direction_1_across_and_2_for_the_opposite() -> None:
    a = (torch.tensor([1.0, 2.0]), torch.tensor([[3.0]]))
    twice, against = tuple(2 * part for part in a), tuple(-part for part in a)
    across = (torch.tensor([2.0, -1.0]), torch.tensor([[0.0]]))
    for other, value in ((twice, 0.0), (across, 1.0), (against, 2.0)):
        torch.testing.assert_close(mismatch(a, other), torch.tensor(value), atol=1e-6, rtol=0)


def test_mismatch_has_one_norm_over_all_layers() -> None:
    """By layer it would be (0 + 1) / 2; as one vector the long layer decides."""
    a = (torch.tensor([10.0, 0.0]), torch.tensor([1.0, 0.0]))
    b = (torch.tensor([10.0, 0.0]), torch.tensor([0.0, 1.0]))
    torch.testing.assert_close(mismatch(a, b), torch.tensor(1 - 100 / 101))


def test_the_mismatch_reaches_the_pixels_through_the_gradient_of_the_weights() -> None:
    """Double backward, checked by a difference quotient along the gradient."""
    net, test = network().double(), digits().test
    x, y = test.inputs[:4].double(), test.targets[:4]
    goal = weight_gradient(net, test.inputs[9:10].double(), test.targets[9:10])

    def apart(z: Tensor) -> Tensor:
        return mismatch(weight_gradient(net, z, y, differentiable=True), goal)

    z = x.clone().requires_grad_(True)
    (slope,) = torch.autograd.grad(apart(z), z)
    assert (slope.abs().flatten(1).amax(1) > 0).all()
    step = 1e-5 * slope / slope.norm()
    rise = (apart(x + step) - apart(x - step)).detach() / 2e-5
    torch.testing.assert_close(rise, slope.norm(), rtol=1e-4, atol=0)
    assert all(weight.grad is None for weight in net.parameters())


def test_signed_descent_halves_the_mismatch_and_stays_in_the_ball() -> None:
    attack = TARGETED["witches-brew"]
    assert isinstance(attack, WitchesBrew)
    aim = attack.aim(digits(), Seed(0))
    train = digits().train
    (net,) = attack.taught(train, Seed(0))
    own = train.take((train.targets == aim.targets).nonzero()[:6, 0])
    x, y = own.inputs, own.targets
    goal = weight_gradient(net, aim.inputs, aim.targets)
    losses: list[float] = []

    def apart(z: Tensor) -> Tensor:
        loss = mismatch(weight_gradient(net, z, y, differentiable=True), goal)
        losses.append(float(loss.detach()))
        return loss

    z = signed_descent(apart, x, Budget("linf", EPS), steps=30, stride=0.1, start=x)
    assert losses[-1] < losses[0] / 2
    assert float((z - x).abs().max()) <= EPS + 1e-6
    assert float(z.min()) >= 0
    assert float(z.max()) <= 1


def test_signed_descent_finds_the_corner_of_the_ball_for_a_linear_loss() -> None:
    x, w = torch.full((3, 1, 2, 2), 0.5), torch.tensor([[[1.0, -2.0], [0.1, -0.3]]])
    z = signed_descent(
        lambda z: (z * w).sum(), x, Budget("linf", 0.1), steps=40, stride=0.1, start=x
    )
    torch.testing.assert_close(z, x - 0.1 * w.sign())


def test_of_more_restarts_the_one_of_least_mismatch_is_planted() -> None:
    """More tries are never worse, and on some seed the second is better than the first."""
    won = set()
    for n in range(4):
        data, seed, apart = digits(), Seed(n), []
        for restarts in (1, 2):
            attack = WitchesBrew(
                rate=0.04, eps=EPS, restarts=restarts, **{**SMALL, "epochs": 1, "steps": 1}
            )
            poisoned, aim = attack.before(data, seed), attack.aim(data, seed)
            (net,) = attack.taught(data.train, seed / "surrogate")
            poisons = poisoned.data.train.named(poisoned.secret["planted"])
            ours = weight_gradient(net, poisons.inputs, poisons.targets)
            goal = weight_gradient(net, aim.inputs, aim.targets)
            apart.append(float(mismatch(ours, goal)))
        assert apart[1] <= apart[0] + 1e-6
        won.add(apart[1] < apart[0] - 1e-6)
    assert won == {True, False}


def test_moving_about_shifts_by_whole_pixels_and_lets_black_in() -> None:
    x = torch.zeros(200, 1, 8, 8)
    x[:, :, 4, 3] = 1
    z = moved(x, 2, False, Seed().generator())
    assert torch.equal(z.sum((1, 2, 3)), torch.ones(200))
    places = {tuple(place) for place in z[:, 0].nonzero()[:, 1:].tolist()}
    assert places == {(row, column) for row in range(2, 7) for column in range(1, 6)}


def test_moving_about_by_nothing_is_nothing_and_a_flip_mirrors_about_half() -> None:
    x = digits().train.inputs
    assert torch.equal(moved(x, 0, False, Seed().generator()), x)
    z = moved(x, 0, True, Seed().generator())
    turned = (z == x.flip(3)).flatten(1).all(1)
    assert bool((turned | (z == x).flatten(1).all(1)).all())
    assert 60 < int(turned.sum()) < 140


def test_features_are_what_the_head_is_given() -> None:
    net, x = network(), digits().test.inputs[:5]
    torch.testing.assert_close(head_of(net)(features(net, x)), net(x))
    assert not head_of(net)._forward_pre_hooks, "the hook was left behind"
    with pytest.raises(BadModel, match="no linear layer"):
        features(nn.Conv2d(1, 1, 3), x)


def test_collision_and_centre_know_their_answers() -> None:
    found, aim = torch.tensor([[3.0, 5.0], [3.0, 3.0]]), torch.tensor([[3.0, 4.0]])
    assert collision(found, aim).tolist() == [1.0, 1.0]
    assert float(off_centre(found, aim)) == 0.0
    torch.testing.assert_close(off_centre(found[:1], aim), torch.tensor(0.2))


def near(attack: Any, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Features by the poisoner's own network: of the bases, of the poisons, of the victim."""
    data = digits()
    tainted, aim = attack.before(data, Seed(seed)), attack.aim(data, Seed(seed))
    (net,) = attack.taught(data.train, Seed(seed) / "surrogate")
    ids = tainted.secret["planted"]
    with torch.no_grad():
        bases, poisons, victim = (
            features(net, x)
            for x in (
                data.train.named(ids).inputs,
                tainted.data.train.named(ids).inputs,
                aim.inputs,
            )
        )
    return bases, poisons, victim


def test_feature_collision_brings_every_poison_nearer_to_the_victim() -> None:
    bases, poisons, victim = near(FeatureCollision(rate=0.04, eps=EPS, **SMALL))
    assert bool((collision(poisons, victim) < 0.8 * collision(bases, victim)).all())


def test_a_heavy_beta_keeps_the_poisons_at_their_bases() -> None:
    attack = FeatureCollision(rate=0.04, eps=EPS, beta=1e6, **{**SMALL, "steps": 40})
    moved_by = attack.before(digits(), Seed()).data.train.inputs - digits().train.inputs
    free = FeatureCollision(rate=0.04, eps=EPS, beta=0, **{**SMALL, "steps": 40})
    moved_freely = free.before(digits(), Seed()).data.train.inputs - digits().train.inputs
    assert float(moved_by.abs().sum()) < 0.2 * float(moved_freely.abs().sum())


def test_bullseye_brings_the_mean_of_the_poisons_to_the_victim() -> None:
    bases, poisons, victim = near(Bullseye(rate=0.04, eps=EPS, **{**SMALL, "steps": 30}))
    assert float(off_centre(poisons, victim)) < 0.5 * float(off_centre(bases, victim))


def test_symmetric_flips_exactly_the_count_and_never_to_the_same_class() -> None:
    train = digits().train
    tainted = LabelFlip(rate=0.3).before(digits(), Seed())
    targets = tainted.data.train.targets
    flipped = targets != train.targets
    assert int(flipped.sum()) == 60
    assert sorted(train.ids[flipped].tolist()) == sorted(tainted.secret["planted"].tolist())
    assert set(targets[flipped].tolist()) == set(range(10))
    assert torch.equal(tainted.data.train.inputs, train.inputs)


def test_a_pair_flips_images_of_one_class_to_the_other_and_nothing_else() -> None:
    train = digits().train
    tainted = LabelFlip(rate=0.05, kind="pair", origin=3, target=8).before(digits(), Seed())
    flipped = tainted.data.train.targets != train.targets
    assert int(flipped.sum()) == 10
    assert set(train.targets[flipped].tolist()) == {3}
    assert set(tainted.data.train.targets[flipped].tolist()) == {8}


def test_flips_repeat_bit_for_bit_and_differ_from_seed_to_seed() -> None:
    once, again, other = (
        LabelFlip(rate=0.3).before(digits(), Seed(n)).data.train.targets for n in (0, 0, 1)
    )
    assert torch.equal(once, again)
    assert not torch.equal(once, other)


def test_flips_hand_in_plain_images_and_only_a_pair_wants_an_answer() -> None:
    test = digits().test
    even = LabelFlip().after(subject(), digits(), {}, Seed())
    pair = LabelFlip(kind="pair", origin=3, target=8).after(subject(), digits(), {}, Seed())
    assert LabelFlip().threat.goal == "degrade"
    assert even.wanted is None
    assert pair.wanted is not None
    assert torch.equal(even.inputs, test.inputs)
    assert torch.equal(pair.ids, test.ids)
    assert pair.wanted.tolist() == [8 if y == 3 else y for y in test.targets.tolist()]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"rate": 0.001}, "plants none of 200"),
        ({"rate": 0.5, "kind": "pair"}, "the rate can be at most"),
        ({"kind": "pair", "origin": 10}, "there is no class 10"),
        ({"kind": "pair", "target": -1}, "there is no class -1"),
        ({"kind": "pair", "origin": 4, "target": 4}, "a pair is two classes"),
        ({"rate": 0.0}, "rate is a share"),
    ],
)
def test_flips_that_cannot_be_are_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(BadSetting, match=says):
        LabelFlip(**changes).before(digits(), Seed())


def test_transfer_trains_the_head_of_a_copy_and_nothing_else() -> None:
    teacher, data = network(1).requires_grad_(False), digits().train
    kept = {key: value.clone() for key, value in teacher.state_dict().items()}
    student = Transfer().harden(
        Brief(
            data=data,
            teachers={"clean": teacher},
            student=network(2),
            budget=Budget("linf", 0.1),
            schedule=Schedule(epochs=2, batch=64),
            seed=Seed(),
        )
    )
    for key, value in student.state_dict().items():
        assert torch.equal(teacher.state_dict()[key], kept[key])
        assert torch.equal(value, kept[key]) == (not key.startswith("head."))
    assert all(weight.requires_grad for weight in student.parameters())
    assert not any(module.training for module in student.modules())


def test_transfer_takes_what_it_is_told_of_a_known_image() -> None:
    """A new head on old features answers by the new labels: here, all of them are sevens."""
    data = digits().train
    sevens = Examples(data.ids, data.inputs, torch.full_like(data.targets, 7))
    student = Transfer().harden(
        Brief(
            data=sevens,
            teachers={"clean": network(1).requires_grad_(False)},
            student=network(2),
            budget=Budget("linf", 0.1),
            schedule=Schedule(epochs=3, batch=64),
            seed=Seed(),
        )
    )
    with torch.no_grad():
        assert set(student(data.inputs).argmax(1).tolist()) == {7}
