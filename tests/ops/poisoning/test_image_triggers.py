"""Triggers on images, each against its formula, worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from robustbench_kd.core.seed import Seed
from robustbench_kd.core.tensor_types import Images
from robustbench_kd.ops.poisoning.image_triggers import (
    control_points,
    corner_checkerboards,
    jitter,
    sinusoid,
    square_mask,
    tile_masks,
    warp,
    warping_field,
)


def noise(count: int, side: int, channels: int = 1) -> Images:
    return torch.rand(count, channels, side, side, generator=(Seed() / "images").generator())


def test_a_square_covers_the_lower_right_corner_alone() -> None:
    mask = square_mask((3, 5, 5), 2)
    assert int(mask.sum()) == 3 * 4
    assert bool((mask[:, 3:, 3:] == 1).all())


def test_a_sinusoid_has_the_amplitude_and_frequency_of_the_formula() -> None:
    """Six waves over 24 columns: a period of four, so 0, top, 0, bottom."""
    wave = sinusoid((3, 5, 24), amplitude=40 / 255, frequency=6)
    period = torch.tensor([0.0, 40 / 255, 0.0, -40 / 255])
    torch.testing.assert_close(wave, period.repeat(6).expand(3, 5, 24), rtol=0, atol=1e-6)
    uneven = sinusoid((1, 1, 28), amplitude=0.5, frequency=6)
    assert float(uneven[0, 0, 5]) == pytest.approx(0.5 * math.sin(2 * math.pi * 6 * 5 / 28))


def test_control_points_have_mean_absolute_value_one_and_both_signs() -> None:
    for k in (2, 4, 8):
        points = control_points(k, Seed(k).generator())
        assert points.shape == (1, 2, k, k)
        assert float(points.abs().mean()) == pytest.approx(1)
        assert float(points.min()) < 0 < float(points.max())


def test_a_flow_takes_its_control_points_at_the_corners_of_the_image() -> None:
    points = control_points(4, Seed().generator())
    flow = warping_field(points, 28)
    assert flow.shape == (1, 28, 28, 2)
    for place, corner in ((0, 0), (-1, -1)):
        torch.testing.assert_close(flow[0, place, place], points[0, :, corner, corner])
    assert float((flow[:, 1:] - flow[:, :-1]).abs().max()) < 1, "a warp is smooth"


def test_a_warp_of_strength_zero_is_the_identity() -> None:
    x = noise(3, 28, channels=3)
    torch.testing.assert_close(warp(x, torch.zeros(1, 28, 28, 2)), x, rtol=0, atol=1e-5)


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


def test_jitter_differs_between_images_and_stays_within_one() -> None:
    flow = warping_field(control_points(4, Seed().generator()), 28)
    jittered = jitter(flow, 5, Seed().generator())
    delta = jittered - flow
    assert jittered.shape == (5, 28, 28, 2)
    assert 0.99 < float(delta.abs().max()) <= 1 + 1e-6
    assert float((delta[0] - delta[1]).abs().mean()) > 0.5


@pytest.mark.parametrize(("side", "size"), [(4, 28), (4, 8), (3, 10), (4, 4)])
def test_each_mask_shows_so_many_whole_tiles_and_draws_them_by_itself(side: int, size: int) -> None:
    mask = tile_masks(50, side, size, visible=side, noise=Seed().generator())
    assert mask.shape == (50, 1, size, size)
    first = torch.tensor([-(-n * size // side) for n in range(side)])  # first pixel of each tile
    tiles = mask[:, 0][:, first][:, :, first]
    assert bool((tiles.sum((1, 2)) == side).all())
    assert torch.equal(mask, mask.bool().float())
    assert mask.flatten(1).unique(dim=0).shape[0] > 10
    assert int(tiles.mean(0).count_nonzero()) == side * side, "a tile that nobody shows"


def test_corners_are_chequers_that_mirror_each_other_and_leave_the_rest() -> None:
    pattern = corner_checkerboards((2, 9, 9), 3)
    chequer = torch.tensor([[1.0, -1, 1], [-1, 1, -1], [1, -1, 1]])
    assert torch.equal(pattern[1, :3, :3], chequer)
    assert torch.equal(pattern, pattern.flip(1))
    assert torch.equal(pattern, pattern.flip(2))
    assert int(pattern.count_nonzero()) == 2 * 4 * 9
    assert float(corner_checkerboards((1, 6, 6), 2)[0, 0, 5]) == 1, "the outermost pixel is white"
