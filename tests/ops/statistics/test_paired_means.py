"""Tests of mean differences: against all sign patterns, against draws, and on simulated numbers."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robustbench_kd.ops.statistics.paired_means import (
    LISTED,
    detectable_mean,
    enough_samples,
    mean_loss_p,
    paired_interval,
    sign_flip_p,
)
from robustbench_kd.ops.statistics.weighted_means import (
    mean_interval,
    weighted_mean_cdf,
    weighted_mean_quantile,
)

Draw = Callable[[np.random.Generator, tuple[int, int]], np.ndarray]
RUNS = 1000


@given(st.lists(st.integers(-4, 4), min_size=1, max_size=8))
def test_few_differences_get_the_share_of_all_their_sign_patterns(values: list[int]) -> None:
    sums = [
        sum(sign * abs(value) for sign, value in zip(signs, values, strict=True))
        for signs in product((-1, 1), repeat=len(values))
    ]
    exact = sum(s >= sum(values) for s in sums) / len(sums)
    assert sign_flip_p([0.1 * value for value in values]) == pytest.approx(exact)


@pytest.mark.parametrize("count", [LISTED + 1, 63, 500])
@pytest.mark.parametrize("shift", [0.0, 0.15, 0.3])
def test_many_differences_get_the_share_of_drawn_sign_patterns(count: int, shift: float) -> None:
    rng = np.random.default_rng(count)
    differences = rng.laplace(size=count) + shift
    signs = rng.integers(0, 2, (40_000, count)) * 2 - 1
    drawn = np.mean(signs @ np.abs(differences) >= differences.sum())
    assert sign_flip_p(differences.tolist()) == pytest.approx(drawn, abs=0.01)


def test_extreme_differences_have_extreme_p_values() -> None:
    assert sign_flip_p([1.0] * 9) == 2**-9
    assert sign_flip_p([1.0] * 40) == 2**-40
    assert sign_flip_p([-1.0] * 40) == 1.0
    assert 0 < mean_loss_p((1.0,) * 400) < 1e-50  # far beyond what draws could show
    assert mean_loss_p((0.0,) * 9) == 1.0
    assert mean_loss_p((5.0,)) >= 0.5  # one sample shows nothing


@pytest.mark.parametrize("count", [3, 9, 63])
def test_weighted_means_are_distributed_as_dirichlet_draws_are(count: int) -> None:
    rng = np.random.default_rng(count)
    values = rng.exponential(size=count).round(1)
    draws = rng.dirichlet(np.ones(count), 40_000) @ values
    for bound in np.quantile(draws, [0.01, 0.3, 0.5, 0.9]):
        exact = np.mean(draws <= bound)
        assert weighted_mean_cdf(float(bound), values.tolist()) == pytest.approx(exact, abs=0.015)
    for level in (0.025, 0.05, 0.5, 0.95):
        quantile = weighted_mean_quantile(level, values.tolist())
        assert np.mean(draws <= quantile) == pytest.approx(level, abs=0.015)


def test_a_weighted_mean_is_as_likely_at_most_its_quantile_as_its_level_says() -> None:
    values = [0.0, 0.0, 1.0, 4.0, 9.0]
    for level in (0.001, 0.05, 0.4, 0.5, 0.7, 0.999):
        bound = weighted_mean_quantile(level, values)
        assert weighted_mean_cdf(bound, values) == pytest.approx(level, rel=0.01)
    assert weighted_mean_cdf(-1.0, values) == 0
    assert weighted_mean_cdf(9.0, values) == 1
    assert weighted_mean_quantile(0.3, [2.0, 2.0]) == 2.0


def normal(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    return rng.normal(size=shape)


def laplace(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    return rng.laplace(size=shape)


def skewed_right(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    return rng.exponential(size=shape) - 1


def skewed_left(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    return 1 - rng.exponential(size=shape)


def tied(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    return np.where(rng.random(shape) < 0.7, 0.0, np.round(rng.normal(size=shape)))


def tied_skewed_left(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    return np.where(rng.random(shape) < 0.7, 0.0, skewed_left(rng, shape))


def capped_exposures(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Two equal students: exponential exposures, and a share that is memorised entirely."""
    known = 12 * (rng.random(shape) < 0.3)
    old, new = (np.minimum(13.3, rng.exponential(1.44, shape) + known) for _ in range(2))
    return new - old


NULLS = (normal, laplace, skewed_right, skewed_left, tied, tied_skewed_left, capped_exposures)


@pytest.mark.parametrize("count", [9, 63, 500])
@pytest.mark.parametrize("null", NULLS, ids=lambda null: null.__name__)
def test_a_mean_of_zero_raises_a_false_alarm_in_at_most_one_of_twenty_cases(
    count: int, null: Draw
) -> None:
    runs = RUNS if count < 500 else 250
    differences = null(np.random.default_rng(7), (runs, count))
    alarms = np.mean([mean_loss_p(tuple(row)) <= 0.05 for row in differences.tolist()])
    assert alarms <= 0.05 + 2 * (0.05 * 0.95 / runs) ** 0.5


def test_the_sign_flip_test_alone_takes_a_tail_that_is_not_sampled_for_a_gain() -> None:
    """What the weighted means are for."""
    differences = skewed_left(np.random.default_rng(7), (RUNS, 9)).tolist()
    assert np.mean([sign_flip_p(row) <= 0.05 for row in differences]) > 0.1


@pytest.mark.parametrize(
    ("count", "errors", "least", "most"),
    [(9, 4, 0.3, 0.6), (9, 8, 0.85, 1.0), (63, 2, 0.3, 0.6), (63, 4, 0.9, 1.0), (500, 3, 0.75, 1)],
)
def test_losses_of_so_many_standard_errors_are_shown_so_often(
    count: int, errors: float, least: float, most: float
) -> None:
    runs = 600 if count < 500 else 200
    differences = np.random.default_rng(8).normal(size=(runs, count)) + errors / count**0.5
    shown = np.mean([mean_loss_p(tuple(row)) <= 0.05 for row in differences.tolist()])
    assert least <= shown <= most


@pytest.mark.parametrize("null", NULLS, ids=lambda null: null.__name__)
def test_intervals_of_the_mean_difference_cover_it_in_95_of_100_cases(null: Draw) -> None:
    differences = null(np.random.default_rng(9), (250, 63)).tolist()
    ends = [paired_interval(row) for row in differences]
    assert np.mean([low <= 0 <= high for low, high in ends]) >= 0.92
    pairs = zip(differences, ends, strict=True)
    assert all(low <= np.mean(row) <= high for row, (low, high) in pairs)


def test_an_interval_of_shares_reckons_with_the_largest_possible_difference() -> None:
    nothing = (0.0,) * 240
    assert paired_interval(nothing) == (0.0, 0.0)
    low, high = paired_interval(nothing, bound=1.0)
    assert low == pytest.approx(-high)
    assert high == pytest.approx(1 - 0.025 ** (1 / 240), rel=0.02)  # of Beta(1, 240)
    assert mean_interval(nothing, 0.0, 1.0) == pytest.approx((0.0, high), rel=0.02)


@pytest.mark.parametrize("count", [20, 63, 200])
def test_the_detectable_loss_is_shown_in_about_four_cases_of_five(count: int) -> None:
    rng, shown = np.random.default_rng(10), []
    for _ in range(20):  # each sample gives its own detectable loss
        observed = rng.normal(size=count)
        loss = detectable_mean(tuple(observed))
        assert loss is not None
        rows = rng.normal(size=(40, count)) * observed.std(ddof=1) + loss
        shown += [mean_loss_p(tuple(row)) <= 0.05 for row in rows.tolist()]
    assert np.mean(shown) == pytest.approx(0.8, abs=0.08)


def test_too_few_samples_detect_no_loss_and_more_of_them_a_smaller_one() -> None:
    assert detectable_mean((1.0, -1.0, 2.0)) is None
    assert detectable_mean((0.0,) * 63) == 0.0
    differences = tuple(np.random.default_rng(11).normal(size=63).tolist())
    loss, strict = detectable_mean(differences), detectable_mean(differences, 0.005)
    assert loss is not None
    assert strict is not None
    assert strict > loss
    assert enough_samples(63, loss, loss / 2) == pytest.approx(4 * 63, rel=0.05)
