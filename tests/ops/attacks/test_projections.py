"""Balls, boxes, starts and directions, against what is known otherwise."""

from __future__ import annotations

import pytest
import torch
from box_images import images, moved
from hypothesis import given, settings
from hypothesis import strategies as st

from robustbench_kd.core.config import Budget, Norm
from robustbench_kd.core.seed import Seed
from robustbench_kd.ops.attacks.projections import (
    broadcast,
    distance,
    gaussian_start,
    lp_norm,
    project,
    steepest_direction,
    uniform_start,
)

KINDS: list[Norm] = ["linf", "l2"]
BUDGETS = st.builds(Budget, st.sampled_from(KINDS), st.floats(0, 3))
NUMBERS = st.integers(0, 2**31)


@given(number=NUMBERS, budget=BUDGETS, scale=st.floats(0.001, 10))
@settings(max_examples=80)
def test_a_projection_lies_in_ball_and_box_and_is_its_own_projection(
    number: int, budget: Budget, scale: float
) -> None:
    x = images(number)
    z = project(moved(x, number, scale), x, budget)
    assert float(distance(z, x, budget.kind).max()) <= budget.amount * (1 + 1e-6) + 1e-6
    assert float(z.min()) >= 0
    assert float(z.max()) <= 1
    torch.testing.assert_close(project(z, x, budget), z, rtol=0, atol=2e-6)


@given(number=NUMBERS, kind=st.sampled_from(KINDS))
@settings(max_examples=40)
def test_what_lies_in_ball_and_box_is_its_own_projection(number: int, kind: Norm) -> None:
    x = images(number)
    z = moved(x, number, 0.05).clamp(0, 1)
    radius = float(distance(z, x, kind).max()) + 1e-3
    torch.testing.assert_close(project(z, x, Budget(kind, radius)), z, rtol=0, atol=1e-6)


def test_a_projection_by_hand() -> None:
    x, z = torch.full((1, 1, 1, 2), 0.5), torch.tensor([[[[0.8, 0.9]]]])
    linf = project(z, x, Budget("linf", 0.35))
    torch.testing.assert_close(linf, torch.tensor([[[[0.8, 0.85]]]]))
    l2 = project(z, x, Budget("l2", 0.25))  # the step of (0.3, 0.4) is halved
    torch.testing.assert_close(l2, torch.tensor([[[[0.65, 0.7]]]]))


def test_norms_by_hand() -> None:
    delta = torch.tensor([[[[3.0, -4.0]]], [[[0.0, 0.0]]]])
    assert lp_norm(delta, "linf").tolist() == [4.0, 0.0]
    assert lp_norm(delta, "l2").tolist() == [5.0, 0.0]
    torch.testing.assert_close(broadcast(torch.tensor([2.0, 3.0]), delta) * delta, 2 * delta)


@pytest.mark.parametrize("kind", KINDS)
def test_the_steepest_direction_has_norm_one_and_a_zero_gradient_gives_zero(kind: Norm) -> None:
    gradient = moved(torch.zeros(2, 1, 4, 4), 1)
    gradient[1] = 0
    step = steepest_direction(gradient, kind)
    torch.testing.assert_close(lp_norm(step, kind), torch.tensor([1.0, 0.0]))
    gain, flat = (step * gradient)[0].sum(), gradient[0].flatten()
    torch.testing.assert_close(gain, flat.abs().sum() if kind == "linf" else flat.norm())


@pytest.mark.parametrize("kind", KINDS)
def test_random_starts_fill_the_cube_evenly_and_the_ball_along_its_radius(kind: Norm) -> None:
    """The largest of four uniform shares has the mean 4/5; a uniform radius has the mean 1/2."""
    x, budget = torch.full((4000, 1, 2, 2), 0.5), Budget(kind, 0.2)
    z = uniform_start(x, budget, Seed().generator())
    radii = distance(z, x, kind)
    assert float(radii.max()) <= 0.2 + 1e-6
    assert float(radii.mean()) == pytest.approx(0.2 * (4 / 5 if kind == "linf" else 0.5), abs=0.003)
    torch.testing.assert_close((z - x).mean((0, 1)), torch.zeros(2, 2), rtol=0, atol=0.006)
    assert torch.equal(z, uniform_start(x, budget, Seed().generator()))


def test_gaussian_starts_have_the_deviation_of_trades() -> None:
    x = images(0, 200)
    z = gaussian_start(x, Seed().generator())
    assert float(distance(z, x, "linf").max()) < 0.006
    inner = (x > 0.1) & (x < 0.9)
    assert float((z - x)[inner].std()) == pytest.approx(0.001, rel=0.05)
    assert torch.equal(z, gaussian_start(x, Seed().generator()))
    edges = torch.tensor([0.0, 1.0]).repeat(200).view(-1, 1, 1, 2)
    start = gaussian_start(edges, Seed().generator())
    assert (float(start.min()), float(start.max())) == (0, 1)


@pytest.mark.parametrize("kind", KINDS)
def test_starts_lie_on_the_device_of_their_images(kind: Norm) -> None:
    x = torch.empty(2, 1, 4, 4, device="meta")
    assert uniform_start(x, Budget(kind, 0.1), Seed().generator()).device == x.device
    assert gaussian_start(x, Seed().generator()).device == x.device
