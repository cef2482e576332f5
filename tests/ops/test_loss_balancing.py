"""Loss weights and temperatures that adapt, against sequences computed by hand."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from robustbench_kd.ops.loss_balancing import EntropyBalance, NormalizedLossBalance, mean_entropy

LOSS = st.floats(1e-6, 1e6)


def test_the_first_losses_set_the_scale_and_change_no_weight() -> None:
    balance = NormalizedLossBalance()
    balance.update(robust=8.0, clean=0.1, pace=0.5)
    assert (balance.robust, balance.clean) == (0.5, 0.5)
    assert (balance.first_robust, balance.first_clean) == (8.0, 0.1)


def test_the_trace_of_the_normalisation_loss_balance() -> None:
    """Relative losses (r, c), their clean share c / (c + r), and a weight that follows at 0.2."""
    balance, trace = NormalizedLossBalance(), []
    for robust, clean in [(2.0, 4.0), (1.0, 4.0), (1.0, 1.0), (0.5, 0.0)]:
        balance.update(robust, clean, pace=0.2)
        trace.append(balance.clean)
    second = 0.5 + 0.2 * (2 / 3 - 0.5)  # r = 1/2, c = 1
    third = second + 0.2 * (1 / 3 - second)  # r = 1/2, c = 1/4
    fourth = third + 0.2 * (0 - third)  # c = 0
    assert trace == pytest.approx([0.5, second, third, fourth], abs=1e-12)
    assert balance.robust == pytest.approx(1 - fourth)


def test_the_loss_that_falls_less_gets_the_larger_weight() -> None:
    balance = NormalizedLossBalance()
    for step in range(50):
        balance.update(robust=1.0, clean=0.9**step, pace=0.1)
    assert balance.robust > 0.9


@given(losses=st.lists(st.tuples(LOSS, LOSS), min_size=1, max_size=30), pace=st.floats(0, 0.99))
def test_weights_stay_between_zero_and_one_and_sum_to_one(
    losses: list[tuple[float, float]], pace: float
) -> None:
    balance = NormalizedLossBalance()
    for robust, clean in losses:
        balance.update(robust, clean, pace)
        assert 0 < balance.clean < 1
        assert 0 < balance.robust < 1
        assert balance.clean + balance.robust == pytest.approx(1, abs=1e-12)


def test_losses_of_zero_do_not_divide_by_zero() -> None:
    balance = NormalizedLossBalance()
    for _ in range(3):
        balance.update(0.0, 0.0, pace=0.5)
        assert math.isfinite(balance.clean)


def scores(sharpness: float) -> Tensor:
    """Scores whose entropy falls as the sharpness rises."""
    return torch.tensor([[sharpness, 0.0, 0.0], [0.0, sharpness, 0.0]])


def test_entropy_by_hand() -> None:
    assert float(mean_entropy(torch.zeros(5, 4))) == pytest.approx(math.log(4), abs=1e-6)
    biased = torch.tensor([[math.log(3.0), 0.0]])
    expected = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert float(mean_entropy(biased)) == pytest.approx(expected, abs=1e-6)
    assert float(mean_entropy(torch.tensor([[1e4, 0.0]]))) == 0.0


def test_the_temperature_of_the_more_certain_teacher_rises_and_the_other_stays_at_one() -> None:
    temperatures, trace = EntropyBalance(), []
    for _ in range(3):
        temperatures.update(scores(0.5), scores(5.0), step=0.25)
        trace.append((temperatures.robust, temperatures.clean))
    assert trace == [(1.0, 1.25), (1.0, 1.5), (1.0, 1.75)]


def test_temperatures_turn_back_where_the_other_teacher_is_more_certain() -> None:
    temperatures, trace = EntropyBalance(), []
    for robust, clean in [(0.5, 5.0), (5.0, 0.5), (5.0, 0.5), (2.0, 2.0)]:
        temperatures.update(scores(robust), scores(clean), step=0.5)
        trace.append((temperatures.robust, temperatures.clean))
    assert trace == [(1.0, 1.5), (1.5, 1.0), (2.0, 1.0), (2.0, 1.0)]  # equal: neither moves


def test_no_temperature_rises_above_ten() -> None:
    temperatures = EntropyBalance()
    for _ in range(40):
        temperatures.update(scores(0.5), scores(5.0), step=0.5)
    assert (temperatures.robust, temperatures.clean) == (1.0, 10.0)


def test_temperatures_settle_where_the_entropies_of_both_teachers_agree() -> None:
    """Within one step."""
    robust, clean, temperatures = scores(1.0), scores(4.0), EntropyBalance()
    for _ in range(400):
        temperatures.update(robust / temperatures.robust, clean / temperatures.clean, step=0.02)
    assert temperatures.robust == 1.0
    assert temperatures.clean == pytest.approx(4.0, abs=0.03)
