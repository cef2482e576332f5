"""Losses against numbers computed otherwise: by scipy, by hand, by another formula."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, rel_entr, softmax
from torch import Tensor

from robustbench_kd.core.seed import Seed
from robustbench_kd.defenses.defensive_distillation import soft_cross_entropy
from robustbench_kd.ops.attacks.targets import Goal
from robustbench_kd.ops.losses import (
    cross_entropy,
    difference_ratio,
    distillation,
    divergence,
    margin,
    target_margin,
    targeted_difference_ratio,
)


def scores(name: str, classes: int = 10) -> Tensor:
    """Four rows of scores that differ by name."""
    noise = (Seed() / "scores" / name).generator()
    return torch.randn(4, classes, generator=noise, dtype=torch.float64) * 3


Y = torch.tensor([3, 1, 0, 2])


def test_cross_entropy_is_the_negative_log_of_the_labels_probability() -> None:
    s = scores("s")
    expected = -log_softmax(s.numpy(), 1)[np.arange(4), Y.numpy()]
    np.testing.assert_allclose(cross_entropy(s, Y).numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize("t", [0.5, 1.0, 4.0, 30.0])
def test_divergence_is_the_relative_entropy_from_the_target(t: float) -> None:
    a, b = scores("target"), scores("predicted")
    expected = rel_entr(softmax(a.numpy() / t, 1), softmax(b.numpy() / t, 1)).sum(1)
    np.testing.assert_allclose(divergence(a, b, t).numpy(), expected, rtol=1e-10)
    np.testing.assert_allclose(distillation(b, a, t).numpy(), t * t * expected, rtol=1e-10)


def test_divergence_of_two_coins_by_hand() -> None:
    even, biased = torch.zeros(1, 2), torch.tensor([[math.log(3.0), 0.0]])  # 1/2 1/2 and 3/4 1/4
    assert float(divergence(even, biased)) == pytest.approx(0.5 * math.log(4 / 3), abs=1e-6)
    assert float(divergence(biased, even)) == pytest.approx(0.1308, abs=1e-4)


def test_divergence_of_equals_is_zero_and_that_of_certain_predictions_finite() -> None:
    s = scores("s").float()
    assert torch.equal(divergence(s, s), torch.zeros(4))
    sure = torch.tensor([[1e4, 0.0, 0.0]])
    assert math.isfinite(float(divergence(sure, -sure)))
    assert float(divergence(sure, sure)) == 0.0


def test_divergence_has_gradients_on_both_sides_unless_detached() -> None:
    a, b = scores("a").requires_grad_(), scores("b").requires_grad_()
    to_a, to_b = torch.autograd.grad(divergence(a, b).sum(), (a, b))
    p, q = a.softmax(1), b.softmax(1)
    torch.testing.assert_close(to_b, (q - p).detach())
    gap = (p.log() - q.log()).detach()
    torch.testing.assert_close(to_a, (p * (gap - (p * gap).sum(1, keepdim=True))).detach())
    assert divergence(a.detach(), b).requires_grad


def test_the_factor_keeps_the_gradient_of_distillation_as_the_temperature_rises() -> None:
    """At a high temperature the gradient is that of half the squared distance of centred scores."""
    s, t = scores("s").requires_grad_(), scores("t")
    (gradient,) = torch.autograd.grad(distillation(s, t, 1e4).sum(), s)
    centred = (s - s.mean(1, keepdim=True)) - (t - t.mean(1, keepdim=True))
    torch.testing.assert_close(gradient, centred.detach() / 10, rtol=1e-2, atol=1e-3)


def test_distillation_is_at_temperature_one_by_default() -> None:
    s, t = scores("s"), scores("t")
    torch.testing.assert_close(distillation(s, t), divergence(t, s, 1.0))


def test_soft_cross_entropy_is_divergence_and_the_targets_own_entropy() -> None:
    target, predicted = scores("t"), scores("p")
    entropy = -(target.softmax(1) * target.log_softmax(1)).sum(1)
    torch.testing.assert_close(
        soft_cross_entropy(target, predicted), divergence(target, predicted) + entropy
    )


def test_margins_by_hand_where_all_other_scores_are_negative() -> None:
    """Masking the label by zero would give -1 and 0 here: a known error of public code."""
    s = torch.tensor([[-1.0, -3.0, -7.0], [-5.0, -2.0, -2.0]])
    assert margin(s, torch.tensor([0, 0])).tolist() == [2.0, -3.0]
    assert target_margin(s, torch.tensor([1, 1])).tolist() == [-2.0, 0.0]


def test_difference_ratios_by_hand() -> None:
    s = torch.tensor([[4.0, 1.0, 3.0, 0.0]])
    first, second = torch.tensor([0]), torch.tensor([1])
    # -(4 - 3) / (4 - 1), and -(4 - 1) / (4 - (1 + 0) / 2)
    assert float(difference_ratio(s, first)) == pytest.approx(-1 / 3)
    assert float(difference_ratio(s, second)) == pytest.approx((4 - 1) / 3)
    assert float(targeted_difference_ratio(s, first, second)) == pytest.approx(-3 / 3.5)
    # Ranks below the fourth do not count: -(4 - 1) / (4 - (2 + 1) / 2).
    five = torch.tensor([[4.0, 1.0, 3.0, 2.0, -9.0]])
    assert float(targeted_difference_ratio(five, first, second)) == pytest.approx(-3 / 2.5)


@pytest.mark.parametrize("classes", [2, 3, 4, 10])
def test_difference_ratios_are_free_of_shift_and_scale(classes: int) -> None:
    s, y = scores("ratio", classes), Y % classes
    aim = (y + 1) % classes
    ratios: list[Callable[[Tensor], Tensor]] = [
        lambda z: difference_ratio(z, y),
        lambda z: targeted_difference_ratio(z, y, aim),
    ]
    for ratio in ratios:
        assert bool(torch.isfinite(ratio(s)).all())
        torch.testing.assert_close(ratio(s), ratio(s * 7 + 3))
        torch.testing.assert_close(ratio(s), ratio(s / 128))


@pytest.mark.parametrize("targeted", [False, True])
def test_the_margin_of_a_goal_is_positive_exactly_where_it_is_reached(targeted: bool) -> None:
    s = torch.randn(200, 5, generator=(Seed() / "goal").generator())
    y = torch.arange(200) % 5
    goal = Goal(y, (y + 1) % 5 if targeted else None)
    assert torch.equal(goal.margin(s) > 0, goal.is_reached(s))
    expected = s.argmax(1) == (y + 1) % 5 if targeted else s.argmax(1) != y
    assert torch.equal(goal.is_reached(s), expected)
    part = torch.tensor([3, 5, 8])
    assert torch.equal(goal.take(part).is_reached(s[part]), goal.is_reached(s)[part])
