"""Weights and temperatures that adapt, against sequences worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from robustbench_kd.ops.loss_balancing import Entropies, Shares, entropy

LOSS = st.floats(1e-6, 1e6)


def test_the_first_losses_set_the_scale_and_move_nothing() -> None:
    shares = Shares()
    shares.move(robust=8.0, clean=0.1, pace=0.5)
    assert (shares.robust, shares.clean) == (0.5, 0.5)
    assert (shares.first_robust, shares.first_clean) == (8.0, 0.1)


def test_the_trace_of_the_normalisation_loss_balance() -> None:
    """Relative losses (r, c), their clean share c / (c + r), and a weight that follows at 0.2."""
    shares, trace = Shares(), []
    for robust, clean in [(2.0, 4.0), (1.0, 4.0), (1.0, 1.0), (0.5, 0.0)]:
        shares.move(robust, clean, pace=0.2)
        trace.append(shares.clean)
    second = 0.5 + 0.2 * (2 / 3 - 0.5)  # r = 1/2, c = 1
    third = second + 0.2 * (1 / 3 - second)  # r = 1/2, c = 1/4
    fourth = third + 0.2 * (0 - third)  # c = 0
    assert trace == pytest.approx([0.5, second, third, fourth], abs=1e-12)
    assert shares.robust == pytest.approx(1 - fourth)


def test_the_loss_that_falls_less_gets_the_larger_weight() -> None:
    shares = Shares()
    for turn in range(50):
        shares.move(robust=1.0, clean=0.9**turn, pace=0.1)
    assert shares.robust > 0.9


@given(losses=st.lists(st.tuples(LOSS, LOSS), min_size=1, max_size=30), pace=st.floats(0, 0.99))
def test_weights_stay_between_zero_and_one_and_sum_to_one(
    losses: list[tuple[float, float]], pace: float
) -> None:
    shares = Shares()
    for robust, clean in losses:
        shares.move(robust, clean, pace)
        assert 0 < shares.clean < 1
        assert 0 < shares.robust < 1
        assert shares.clean + shares.robust == pytest.approx(1, abs=1e-12)


def test_losses_of_zero_do_not_divide_by_zero() -> None:
    shares = Shares()
    for _ in range(3):
        shares.move(0.0, 0.0, pace=0.5)
        assert math.isfinite(shares.clean)


def unsure(sharpness: float) -> Tensor:
    """Scores whose entropy falls as the sharpness rises."""
    return torch.tensor([[sharpness, 0.0, 0.0], [0.0, sharpness, 0.0]])


def test_entropy_by_hand() -> None:
    assert float(entropy(torch.zeros(5, 4))) == pytest.approx(math.log(4), abs=1e-6)
    quarter = torch.tensor([[math.log(3.0), 0.0]])
    wanted = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert float(entropy(quarter)) == pytest.approx(wanted, abs=1e-6)
    assert float(entropy(torch.tensor([[1e4, 0.0]]))) == 0.0


def test_the_surer_teacher_is_heated_and_the_other_stays_at_one() -> None:
    temperatures, trace = Entropies(), []
    for _ in range(3):
        temperatures.move(unsure(0.5), unsure(5.0), step=0.25)
        trace.append((temperatures.robust, temperatures.clean))
    assert trace == [(1.0, 1.25), (1.0, 1.5), (1.0, 1.75)]


def test_the_trace_turns_back_where_the_other_teacher_is_surer() -> None:
    temperatures, trace = Entropies(), []
    for robust, clean in [(0.5, 5.0), (5.0, 0.5), (5.0, 0.5), (2.0, 2.0)]:
        temperatures.move(unsure(robust), unsure(clean), step=0.5)
        trace.append((temperatures.robust, temperatures.clean))
    assert trace == [(1.0, 1.5), (1.5, 1.0), (2.0, 1.0), (2.0, 1.0)]  # equal: neither moves


def test_no_temperature_rises_above_ten() -> None:
    temperatures = Entropies()
    for _ in range(40):
        temperatures.move(unsure(0.5), unsure(5.0), step=0.5)
    assert (temperatures.robust, temperatures.clean) == (1.0, 10.0)


def test_heating_closes_the_gap_between_two_teachers() -> None:
    """The temperature settles where both are equally unsure, within one step."""
    robust, clean, temperatures = unsure(1.0), unsure(4.0), Entropies()
    for _ in range(400):
        temperatures.move(robust / temperatures.robust, clean / temperatures.clean, step=0.02)
    assert temperatures.robust == 1.0
    assert temperatures.clean == pytest.approx(4.0, abs=0.03)
