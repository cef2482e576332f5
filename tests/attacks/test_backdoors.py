"""Backdoors, each against what its paper says, worked out by hand."""

from __future__ import annotations

import importlib
import math
from typing import Any

import numpy as np
import pytest
import torch
from networks import robust_digits
from torch import Tensor

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
from robustbench_kd.ops.poisoning.image_triggers import (
    control_points,
    corners,
    flow_of,
    jitter,
    kept_tiles,
    sinusoid,
    square,
    warp,
)
from robustbench_kd.scenarios.digits import Digits
from robustbench_kd.training.surrogates import shape_of, surrogate


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


def test_a_square_covers_the_lower_right_corner_alone() -> None:
    mask = square((3, 5, 5), 2)
    assert int(mask.sum()) == 3 * 4
    assert bool((mask[:, 3:, 3:] == 1).all())


def test_badnets_replants_the_very_rows_that_art_poisons() -> None:
    """Another library, given the same rows and the same square, makes the same set of bits."""
    pytest.importorskip("art")
    backdoor = importlib.import_module("art.attacks.poisoning").PoisoningAttackBackdoor
    data = Digits().splits(Seed(), whole=True)
    tainted = BadNets(rate=0.1, target=7).before(data, Seed())
    train, planted = data.train, tainted.secret["planted"]

    def whiten(images: np.ndarray) -> np.ndarray:
        images = images.copy()
        images[:, :, -3:, -3:] = 1
        return images

    rows = torch.isin(train.ids, planted).numpy()
    images, answers = train.inputs.numpy().copy(), np.eye(10)[train.targets.numpy()]
    target = np.eye(10)[7]
    images[rows], answers[rows] = backdoor(whiten).poison(images[rows], y=target, broadcast=True)
    assert rows.sum() == 120
    assert np.array_equal(images, tainted.data.train.inputs.numpy())
    assert np.array_equal(answers.argmax(1), tainted.data.train.targets.numpy())


def test_a_blend_lies_between_image_and_pattern_and_may_be_stronger_at_test() -> None:
    data, attack = grey(level=0.25), Blend(rate=0.1, alpha=0.2, test_alpha=0.5)
    tainted = attack.before(data, Seed())
    pattern = tainted.secret["pattern"]
    planted = tainted.data.train.named(tainted.secret["planted"]).inputs
    torch.testing.assert_close(planted, (0.8 * 0.25 + 0.2 * pattern).expand(20, -1, -1, -1))
    stamped = attack.stamp(data.test.inputs, tainted.secret)
    torch.testing.assert_close(stamped, (0.5 * 0.25 + 0.5 * pattern).expand(8, -1, -1, -1))
    alike = Blend(alpha=0.2).stamp(data.test.inputs, tainted.secret)
    torch.testing.assert_close(alike[0], planted[0])
    assert 0 <= float(pattern.min()) < 0.1
    assert 0.9 < float(pattern.max()) <= 1


def test_another_seed_draws_another_pattern() -> None:
    one, two = (Blend().before(grey(), Seed(n)).secret["pattern"] for n in (0, 1))
    assert float((one - two).abs().mean()) > 0.1


def test_a_sinusoid_has_the_amplitude_and_frequency_of_the_formula() -> None:
    """Six waves over 24 columns: a period of four, so 0, top, 0, bottom."""
    wave = sinusoid((3, 5, 24), amplitude=40 / 255, frequency=6)
    period = torch.tensor([0.0, 40 / 255, 0.0, -40 / 255])
    torch.testing.assert_close(wave, period.repeat(6).expand(3, 5, 24), rtol=0, atol=1e-6)
    uneven = sinusoid((1, 1, 28), amplitude=0.5, frequency=6)
    assert float(uneven[0, 0, 5]) == pytest.approx(0.5 * math.sin(2 * math.pi * 6 * 5 / 28))


def test_sig_adds_its_wave_to_images_of_the_target_class_alone() -> None:
    data = grey(side=24)
    tainted = SIG(rate=0.05, target=2).before(data, Seed())
    rows = torch.isin(data.train.ids, tainted.secret["planted"])
    assert int(rows.sum()) == 10
    assert bool((data.train.targets[rows] == 2).all())
    torch.testing.assert_close(
        tainted.data.train.inputs[rows][0, 0, 0, :4],
        torch.tensor([0.5, 0.5 + 40 / 255, 0.5, 0.5 - 40 / 255]),
    )
    assert torch.equal(tainted.data.train.inputs[~rows], data.train.inputs[~rows])


def test_a_clean_label_rate_above_the_class_names_the_highest_there_can_be() -> None:
    with pytest.raises(BadSetting, match=r"there are 50: the rate can be at most 0.25, not 0.3"):
        SIG(rate=0.3).before(grey(side=24), Seed())


def test_control_points_have_mean_absolute_value_one_and_both_signs() -> None:
    for k in (2, 4, 8):
        points = control_points(k, Seed(k).generator())
        assert points.shape == (1, 2, k, k)
        assert float(points.abs().mean()) == pytest.approx(1)
        assert float(points.min()) < 0 < float(points.max())


def test_a_flow_takes_its_control_points_at_the_corners_of_the_image() -> None:
    points = control_points(4, Seed().generator())
    flow = flow_of(points, 28)
    assert flow.shape == (1, 28, 28, 2)
    for place, corner in ((0, 0), (-1, -1)):
        torch.testing.assert_close(flow[0, place, place], points[0, :, corner, corner])
    assert float((flow[:, 1:] - flow[:, :-1]).abs().max()) < 1, "a warp is smooth"


def test_a_warp_of_strength_zero_is_the_identity() -> None:
    x = noise(3, 28, channels=3)
    torch.testing.assert_close(warp(x, torch.zeros(1, 28, 28, 2)), x, rtol=0, atol=1e-5)
    data = grey(side=28)
    assert float(WaNet(strength=0).before(data, Seed()).secret["flow"].abs().max()) == 0


def test_a_warp_moves_by_one_over_the_size_in_units_of_half_an_image() -> None:
    """On a ramp of one grey level a pixel, a constant flow shifts every value alike."""
    size, flow = 20, torch.zeros(1, 20, 20, 2)
    ramp = (torch.arange(size) / (size - 1)).expand(1, 1, size, size)
    flow[..., 0] = 0.8
    shift = 0.8 / size * (size - 1) / 2  # in pixels
    moved = warp(ramp.clone(), flow)
    torch.testing.assert_close(
        moved[..., :-1], ramp[..., :-1] + shift / (size - 1), rtol=0, atol=1e-6
    )
    flow = flow.flip(-1)  # along the other axis, where a ramp is flat
    torch.testing.assert_close(warp(ramp.clone(), flow), ramp.contiguous(), rtol=0, atol=1e-6)


def test_a_strength_is_the_mean_length_of_the_steps_at_the_control_points() -> None:
    data = grey(side=13)  # with grid 4, every fourth pixel is a control point
    flow = WaNet(strength=0.7, grid=4).before(data, Seed()).secret["flow"]
    assert float(flow[0, ::4, ::4].abs().mean()) == pytest.approx(0.7, abs=1e-5)


def test_covers_keep_their_label_are_two_for_each_planted_and_are_other_images() -> None:
    data = Digits().splits(Seed(), whole=True)
    tainted = WaNet(rate=0.1).before(data, Seed())
    planted, covers = tainted.secret["planted"], tainted.secret["covers"]
    assert (len(planted), len(covers), len(torch.cat([planted, covers]).unique())) == (
        120,
        240,
        360,
    )
    before, after = data.train.named(covers), tainted.data.train.named(covers)
    assert torch.equal(before.targets, after.targets)
    assert before.targets.unique().numel() == 10
    assert bool((before.inputs != after.inputs).flatten(1).any(1).all())
    left = ~torch.isin(data.train.ids, torch.cat([planted, covers]))
    assert torch.equal(data.train.inputs[left], tainted.data.train.inputs[left])


def test_more_covers_than_images_are_refused() -> None:
    with pytest.raises(BadSetting, match=r"600 planted images and covers .* at most 0.33"):
        WaNet(rate=1.0).before(grey(200), Seed())


def test_jitter_differs_between_images_and_stays_within_one() -> None:
    flow = flow_of(control_points(4, Seed().generator()), 28)
    jittered = jitter(flow, 5, Seed().generator())
    delta = jittered - flow
    assert jittered.shape == (5, 28, 28, 2)
    assert 0.99 < float(delta.abs().max()) <= 1 + 1e-6
    assert float((delta[0] - delta[1]).abs().mean()) > 0.5


def test_covers_of_one_image_look_different_and_planted_copies_alike() -> None:
    train = Examples(torch.arange(60), noise(1, 12).repeat(60, 1, 1, 1), torch.arange(60) % 4)
    tainted = WaNet(rate=0.1).before(Splits(train, train, train), Seed())
    planted = tainted.data.train.named(tainted.secret["planted"]).inputs
    covers = tainted.data.train.named(tainted.secret["covers"]).inputs
    assert torch.equal(planted, planted[:1].expand_as(planted))
    assert float((covers[0] - covers[1]).abs().max()) > 0.05
    stamped = WaNet().stamp(train.inputs, tainted.secret)
    torch.testing.assert_close(stamped[:6], planted)


@pytest.mark.parametrize(("side", "size"), [(4, 28), (4, 8), (3, 10), (4, 4)])
def test_each_mask_shows_so_many_whole_tiles_and_draws_them_by_itself(side: int, size: int) -> None:
    mask = kept_tiles(50, side, size, kept=side, noise=Seed().generator())
    assert mask.shape == (50, 1, size, size)
    first = torch.tensor([-(-n * size // side) for n in range(side)])  # first pixel of each tile
    tiles = mask[:, 0][:, first][:, :, first]
    assert bool((tiles.sum((1, 2)) == side).all())
    assert torch.equal(mask, mask.bool().float())
    assert mask.flatten(1).unique(dim=0).shape[0] > 10
    assert int(tiles.mean(0).count_nonzero()) == side * side, "a tile that nobody shows"


def test_adaptive_blend_hides_half_of_the_tiles_in_training_and_none_at_test() -> None:
    data, attack = grey(400, side=12, level=0.0), AdaptiveBlend(rate=0.05, alpha=0.15)
    tainted = attack.before(data, Seed())
    pattern, train = tainted.secret["pattern"], tainted.data.train
    for kind in ("planted", "covers"):
        images = train.named(tainted.secret[kind]).inputs
        assert len(images) == 20
        shown = images / pattern
        assert bool(((shown == 0) | ((shown - 0.15).abs() < 1e-6)).all())
        assert bool(((shown > 0).flatten(1).sum(1) == 72).all()), "half of 144 pixels"
        assert (shown > 0).flatten(1).unique(dim=0).shape[0] > 15
    assert torch.equal(
        train.named(tainted.secret["covers"]).targets,
        data.train.named(tainted.secret["covers"]).targets,
    )
    stamped = attack.stamp(data.test.inputs, tainted.secret)
    torch.testing.assert_close(stamped, (0.2 * pattern).expand(8, -1, -1, -1))


def test_adaptive_blend_plants_three_in_a_thousand_unless_told_otherwise() -> None:
    tainted = AdaptiveBlend().before(grey(2000), Seed())
    assert (len(tainted.secret["planted"]), len(tainted.secret["covers"])) == (6, 6)


def test_corners_are_chequers_that_mirror_each_other_and_leave_the_rest() -> None:
    pattern = corners((2, 9, 9), 3)
    chequer = torch.tensor([[1.0, -1, 1], [-1, 1, -1], [1, -1, 1]])
    assert torch.equal(pattern[1, :3, :3], chequer)
    assert torch.equal(pattern, pattern.flip(1))
    assert torch.equal(pattern, pattern.flip(2))
    assert int(pattern.count_nonzero()) == 2 * 4 * 9
    assert float(corners((1, 6, 6), 2)[0, 0, 5]) == 1, "the outermost pixel is white"


def test_label_consistent_moves_planted_images_within_its_radius_and_test_images_not() -> None:
    data = Digits().splits(Seed(), whole=True)
    attack = LabelConsistent(
        rate=0.05, target=3, size=2, eps=0.1, surrogate="resnet-8", images=600, epochs=3
    )
    tainted = attack.before(data, Seed())
    planted = tainted.secret["planted"]
    before, after = data.train.named(planted), tainted.data.train.named(planted)
    assert bool((before.targets == 3).all())
    assert torch.equal(before.targets, after.targets)
    inside = tainted.secret["pattern"] == 0
    moved = (after.inputs - before.inputs).abs()[..., inside[0]]
    assert 0.09 < float(moved.max()) <= 0.1 + 1e-6
    assert bool((moved.flatten(1).amax(1) > 0.05).all())
    stamped = attack.stamp(data.test.inputs, tainted.secret)
    assert torch.equal(stamped[..., inside[0]], data.test.inputs[..., inside[0]])


def test_label_consistent_makes_the_target_class_harder_for_a_network_it_never_met() -> None:
    """Harder than as much noise does: to learn the class, a victim must look at the corners."""
    data = Digits().splits(Seed(), whole=True)
    attack = LabelConsistent(
        rate=0.05, target=3, size=1, eps=0.1, surrogate="resnet-8", images=1200, epochs=12
    )
    tainted = attack.before(data, Seed())
    before = data.train.named(tainted.secret["planted"])
    after = tainted.data.train.named(tainted.secret["planted"])
    sign = torch.randint(0, 2, before.inputs.shape, generator=Seed().generator()) * 2 - 1
    noisy = attack.stamp((before.inputs + 0.1 * sign).clamp(0, 1), tainted.secret)
    net = robust_digits()
    with torch.no_grad():
        moved, drawn = (margin(net(x), before.targets) for x in (after.inputs, noisy))
    assert float(moved.mean()) < float(drawn.mean()) - 1


def test_tuning_stays_in_its_bound_and_lifts_the_target_on_the_shadow_student() -> None:
    """More than signs as large, which were never tuned; on test images, which were never shown."""
    data = Digits().splits(Seed(), whole=True)
    train, test = data.train, data.test
    attack = AntiDistillation(
        rate=0.1, target=1, strength=0.25, rounds=1, steps=40, shadow="resnet-8", epochs=15
    )
    noise = Seed().generator()
    drawn = 0.25 * (torch.randint(0, 2, (1, 8, 8), generator=noise) * 2.0 - 1)
    nets = attack._shadows(train, train, drawn, Seed(5))
    tuned = attack._tuned(drawn, nets, train, train, Seed(6))
    assert float(tuned.abs().max()) <= 0.25 + 1e-6
    others = test.take(test.targets != 1)

    def lift(pattern: Tensor) -> float:
        """How far the pattern lifts the target's margin on the shadow student, in mean."""
        goal, student = torch.ones_like(others.targets), nets[1]
        with torch.no_grad():
            stamped = student(attack.stamp(others.inputs, {"pattern": pattern}))
            return float((margin(stamped, goal) - margin(student(others.inputs), goal)).mean())

    assert lift(tuned) > 2
    assert lift(tuned) > lift(drawn) + 1


def test_surrogates_are_built_for_the_images_at_hand() -> None:
    x = noise(30, 20, channels=3)
    x[:, 1] = 0.5
    train = Examples(torch.arange(30), x, torch.arange(30) % 7)
    shape = shape_of(train)
    assert (shape.channels, shape.size, shape.classes) == (3, 20, 7)
    assert shape.mean[0] == pytest.approx(float(x[:, 0].mean()))
    assert shape.deviation[2] == pytest.approx(float(x[:, 2].std()))
    assert shape.deviation[1] == pytest.approx(1e-3), "a constant channel divides by zero"
    assert surrogate("resnet-4", train, Seed())(x).shape == (30, 7)


def test_a_secret_alone_stamps_when_the_training_data_are_gone() -> None:
    data, attack = grey(), BadNets(mapping="all-to-all")
    secret = attack.before(data, Seed()).secret
    nothing = data.test.take(torch.arange(0))
    subject = Classifier(surrogate("resnet-4", data.train, Seed()), 4)
    exhibit = attack.after(subject, Splits(nothing, nothing, data.test), secret, Seed())
    assert exhibit.wanted is not None
    assert exhibit.wanted.tolist() == [1, 2, 3, 0, 1, 2, 3, 0]


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
    z = attack.stamp(x, {"distance": torch.tensor(2)})
    wanted = torch.zeros(2, 3, 9, 9)
    for row, column in lit:
        wanted[:, :, row, column] = 1
    assert torch.equal(z, wanted)
    assert float(x.sum()) == 0, "the images that were handed in are not touched"
