"""Backdoors, each against what its paper says, worked out by hand."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest
import torch
from networks import robust_digits
from torch import Tensor

from robustbench_kd.attacks._poison import COVER_IDS, POISON_IDS
from robustbench_kd.attacks.backdoor.adaptive_blend import AdaptiveBlend
from robustbench_kd.attacks.backdoor.anti_distillation import AntiDistillation
from robustbench_kd.attacks.backdoor.badnets import BadNets
from robustbench_kd.attacks.backdoor.blend import Blend
from robustbench_kd.attacks.backdoor.label_consistent import LabelConsistent
from robustbench_kd.attacks.backdoor.sig import SIG
from robustbench_kd.attacks.backdoor.wanet import WaNet
from robustbench_kd.core.errors import BadSetting
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.tensor_types import Images
from robustbench_kd.core.types import Examples, Splits
from robustbench_kd.models.classifier import Classifier
from robustbench_kd.ops.losses import margin
from robustbench_kd.scenarios.digits import Digits
from robustbench_kd.training.surrogates import surrogate


def grey(count: int = 200, side: int = 12, channels: int = 1, level: float = 0.5) -> Splits:
    """Images of one grey, in four classes, with ids that are not their positions."""
    train = Examples(
        torch.arange(1000, 1000 + count),
        torch.full((count, channels, side, side), level),
        torch.arange(count) % 4,
    )
    return Splits(train, train.take(torch.arange(0)), train.take(torch.arange(8)))


def noise(count: int, side: int, channels: int = 1) -> Images:
    return torch.rand(count, channels, side, side, generator=(Seed() / "images").generator())


def test_badnets_poisons_the_same_rows_to_the_same_bits_as_art() -> None:
    """Another library, given the same rows and the same square, makes the same set of bits."""
    pytest.importorskip("art")
    backdoor = importlib.import_module("art.attacks.poisoning").PoisoningAttackBackdoor
    data = Digits().splits(Seed(), whole=True)
    poisoned = BadNets(rate=0.1, target=7).poison(data, Seed())
    train, poison_ids = data.train, poisoned.attack_state[POISON_IDS]

    def whiten(images: np.ndarray) -> np.ndarray:
        images = images.copy()
        images[:, :, -3:, -3:] = 1
        return images

    rows = torch.isin(train.ids, poison_ids).numpy()
    images, answers = train.inputs.numpy().copy(), np.eye(10)[train.targets.numpy()]
    target = np.eye(10)[7]
    images[rows], answers[rows] = backdoor(whiten).poison(images[rows], y=target, broadcast=True)
    assert rows.sum() == 120
    assert np.array_equal(images, poisoned.data.train.inputs.numpy())
    assert np.array_equal(answers.argmax(1), poisoned.data.train.targets.numpy())


def test_a_blend_lies_between_image_and_pattern_and_may_be_stronger_at_test() -> None:
    data, attack = grey(level=0.25), Blend(rate=0.1, alpha=0.2, test_alpha=0.5)
    poisoned = attack.poison(data, Seed())
    pattern = poisoned.attack_state["pattern"]
    poison_images = poisoned.data.train.named(poisoned.attack_state[POISON_IDS]).inputs
    torch.testing.assert_close(poison_images, (0.8 * 0.25 + 0.2 * pattern).expand(20, -1, -1, -1))
    triggered = attack.apply_trigger(data.test.inputs, poisoned.attack_state)
    torch.testing.assert_close(triggered, (0.5 * 0.25 + 0.5 * pattern).expand(8, -1, -1, -1))
    alike = Blend(alpha=0.2).apply_trigger(data.test.inputs, poisoned.attack_state)
    torch.testing.assert_close(alike[0], poison_images[0])
    assert 0 <= float(pattern.min()) < 0.1
    assert 0.9 < float(pattern.max()) <= 1


def test_another_seed_draws_another_pattern() -> None:
    one, two = (Blend().poison(grey(), Seed(n)).attack_state["pattern"] for n in (0, 1))
    assert float((one - two).abs().mean()) > 0.1


def test_sig_adds_its_wave_to_images_of_the_target_class_alone() -> None:
    data = grey(side=24)
    poisoned = SIG(rate=0.05, target=2).poison(data, Seed())
    rows = torch.isin(data.train.ids, poisoned.attack_state[POISON_IDS])
    assert int(rows.sum()) == 10
    assert bool((data.train.targets[rows] == 2).all())
    torch.testing.assert_close(
        poisoned.data.train.inputs[rows][0, 0, 0, :4],
        torch.tensor([0.5, 0.5 + 40 / 255, 0.5, 0.5 - 40 / 255]),
    )
    assert torch.equal(poisoned.data.train.inputs[~rows], data.train.inputs[~rows])


def test_a_clean_label_rate_above_the_class_names_the_highest_there_can_be() -> None:
    with pytest.raises(BadSetting, match=r"there are 50: the rate can be at most 0.25, not 0.3"):
        SIG(rate=0.3).poison(grey(side=24), Seed())


def test_a_strength_of_zero_is_no_warp() -> None:
    state = WaNet(strength=0).poison(grey(side=28), Seed()).attack_state
    assert float(state["flow"].abs().max()) == 0


def test_a_strength_is_the_mean_length_of_the_steps_at_the_control_points() -> None:
    data = grey(side=13)  # with grid 4, every fourth pixel is a control point
    flow = WaNet(strength=0.7, grid=4).poison(data, Seed()).attack_state["flow"]
    assert float(flow[0, ::4, ::4].abs().mean()) == pytest.approx(0.7, abs=1e-5)


def test_covers_keep_their_label_are_two_for_each_poisoned_image_and_are_other_images() -> None:
    data = Digits().splits(Seed(), whole=True)
    poisoned = WaNet(rate=0.1).poison(data, Seed())
    poison_ids, cover_ids = poisoned.attack_state[POISON_IDS], poisoned.attack_state[COVER_IDS]
    assert (len(poison_ids), len(cover_ids), len(torch.cat([poison_ids, cover_ids]).unique())) == (
        120,
        240,
        360,
    )
    before, after = data.train.named(cover_ids), poisoned.data.train.named(cover_ids)
    assert torch.equal(before.targets, after.targets)
    assert before.targets.unique().numel() == 10
    assert bool((before.inputs != after.inputs).flatten(1).any(1).all())
    left = ~torch.isin(data.train.ids, torch.cat([poison_ids, cover_ids]))
    assert torch.equal(data.train.inputs[left], poisoned.data.train.inputs[left])


def test_more_covers_than_images_are_refused() -> None:
    with pytest.raises(BadSetting, match=r"600 poisoned images and covers .* at most 0.33"):
        WaNet(rate=1.0).poison(grey(200), Seed())


def test_covers_of_one_image_look_different_and_poisoned_copies_alike() -> None:
    train = Examples(torch.arange(60), noise(1, 12).repeat(60, 1, 1, 1), torch.arange(60) % 4)
    poisoned = WaNet(rate=0.1).poison(Splits(train, train, train), Seed())
    poison_images = poisoned.data.train.named(poisoned.attack_state[POISON_IDS]).inputs
    covers = poisoned.data.train.named(poisoned.attack_state[COVER_IDS]).inputs
    assert torch.equal(poison_images, poison_images[:1].expand_as(poison_images))
    assert float((covers[0] - covers[1]).abs().max()) > 0.05
    triggered = WaNet().apply_trigger(train.inputs, poisoned.attack_state)
    torch.testing.assert_close(triggered[:6], poison_images)


def test_adaptive_blend_hides_half_of_the_tiles_in_training_and_none_at_test() -> None:
    data, attack = grey(400, side=12, level=0.0), AdaptiveBlend(rate=0.05, alpha=0.15)
    poisoned = attack.poison(data, Seed())
    pattern, train = poisoned.attack_state["pattern"], poisoned.data.train
    for kind in (POISON_IDS, COVER_IDS):
        images = train.named(poisoned.attack_state[kind]).inputs
        assert len(images) == 20
        shown = images / pattern
        assert bool(((shown == 0) | ((shown - 0.15).abs() < 1e-6)).all())
        assert bool(((shown > 0).flatten(1).sum(1) == 72).all()), "half of 144 pixels"
        assert (shown > 0).flatten(1).unique(dim=0).shape[0] > 15
    assert torch.equal(
        train.named(poisoned.attack_state[COVER_IDS]).targets,
        data.train.named(poisoned.attack_state[COVER_IDS]).targets,
    )
    triggered = attack.apply_trigger(data.test.inputs, poisoned.attack_state)
    torch.testing.assert_close(triggered, (0.2 * pattern).expand(8, -1, -1, -1))


def test_adaptive_blend_poisons_three_in_a_thousand_by_default() -> None:
    poisoned = AdaptiveBlend().poison(grey(2000), Seed())
    assert (len(poisoned.attack_state[POISON_IDS]), len(poisoned.attack_state[COVER_IDS])) == (6, 6)


def test_label_consistent_perturbs_poisoned_images_within_its_radius_and_test_images_not() -> None:
    data = Digits().splits(Seed(), whole=True)
    attack = LabelConsistent(
        rate=0.05, target=3, size=2, eps=0.1, surrogate="resnet-8", images=600, epochs=3
    )
    poisoned = attack.poison(data, Seed())
    poison_ids = poisoned.attack_state[POISON_IDS]
    before, after = data.train.named(poison_ids), poisoned.data.train.named(poison_ids)
    assert bool((before.targets == 3).all())
    assert torch.equal(before.targets, after.targets)
    inside = poisoned.attack_state["pattern"] == 0
    moved = (after.inputs - before.inputs).abs()[..., inside[0]]
    assert 0.09 < float(moved.max()) <= 0.1 + 1e-6
    assert bool((moved.flatten(1).amax(1) > 0.05).all())
    triggered = attack.apply_trigger(data.test.inputs, poisoned.attack_state)
    assert torch.equal(triggered[..., inside[0]], data.test.inputs[..., inside[0]])


def test_label_consistent_makes_the_target_class_harder_for_another_network() -> None:
    """Harder than as much noise does: to learn the class, a model must use the corners."""
    data = Digits().splits(Seed(), whole=True)
    attack = LabelConsistent(
        rate=0.05, target=3, size=1, eps=0.1, surrogate="resnet-8", images=1200, epochs=12
    )
    poisoned = attack.poison(data, Seed())
    before = data.train.named(poisoned.attack_state[POISON_IDS])
    after = poisoned.data.train.named(poisoned.attack_state[POISON_IDS])
    sign = torch.randint(0, 2, before.inputs.shape, generator=Seed().generator()) * 2 - 1
    noisy = attack.apply_trigger((before.inputs + 0.1 * sign).clamp(0, 1), poisoned.attack_state)
    net = robust_digits()
    with torch.no_grad():
        moved, drawn = (margin(net(x), before.targets) for x in (after.inputs, noisy))
    assert float(moved.mean()) < float(drawn.mean()) - 1


def test_optimisation_stays_in_its_bound_and_raises_the_target_on_the_shadow_student() -> None:
    """More than random signs as large, and on test images, which it never used."""
    data = Digits().splits(Seed(), whole=True)
    train, test = data.train, data.test
    attack = AntiDistillation(
        rate=0.1, target=1, strength=0.25, rounds=1, steps=40, shadow="resnet-8", epochs=15
    )
    noise = Seed().generator()
    drawn = 0.25 * (torch.randint(0, 2, (1, 8, 8), generator=noise) * 2.0 - 1)
    nets = attack._shadows(train, train, drawn, Seed(5))
    optimised = attack._optimised(drawn, nets, train, train, Seed(6))
    assert float(optimised.abs().max()) <= 0.25 + 1e-6
    others = test.take(test.targets != 1)

    def margin_gain(pattern: Tensor) -> float:
        """The mean by which the pattern raises the margin of the target on the shadow student."""
        goal, student = torch.ones_like(others.targets), nets[1]
        with torch.no_grad():
            triggered = student(attack.apply_trigger(others.inputs, {"pattern": pattern}))
            return float((margin(triggered, goal) - margin(student(others.inputs), goal)).mean())

    assert margin_gain(optimised) > 2
    assert margin_gain(optimised) > margin_gain(drawn) + 1


def test_a_state_alone_applies_the_trigger_when_the_training_data_are_gone() -> None:
    data, attack = grey(), BadNets(mapping="all-to-all")
    state = attack.poison(data, Seed()).attack_state
    nothing = data.test.take(torch.arange(0))
    model = Classifier(surrogate("resnet-4", data.train, Seed()), 4)
    submission = attack.attack(model, Splits(nothing, nothing, data.test), state, Seed())
    assert submission.targets is not None
    assert submission.targets.tolist() == [1, 2, 3, 0, 1, 2, 3, 0]


@pytest.mark.parametrize(
    ("perturbation", "lit"),
    [("pattern", [(-2, -2), (-2, -4), (-4, -2), (-3, -3)]), ("single", [(-2, -2)])],
)
def test_the_librarys_triggers_light_the_pixels_that_it_documents(
    perturbation: Any, lit: list[tuple[int, int]]
) -> None:
    pytest.importorskip("art")
    from robustbench_kd.attacks.backdoor.art_backdoor import ARTBackdoor

    attack, x = ARTBackdoor(perturbation=perturbation), torch.zeros(2, 3, 9, 9)
    z = attack.apply_trigger(x, {"distance": torch.tensor(2)})
    expected = torch.zeros(2, 3, 9, 9)
    for row, column in lit:
        expected[:, :, row, column] = 1
    assert torch.equal(z, expected)
    assert float(x.sum()) == 0, "the images that were handed in are not touched"
