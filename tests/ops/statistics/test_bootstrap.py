"""Gaffke's interval of a mean: its coverage, and what it is for zeros and ones."""

from __future__ import annotations

import pytest
from chance_exposures import MAXIMUM, SPACE, Draw, chance_exposure, partly_memorised, random_for
from scipy import stats

from robustbench_kd.ops.privacy.exposure import chance, mean_exposure
from robustbench_kd.ops.statistics.bootstrap import mean_interval


@pytest.mark.parametrize(("hits", "count"), [(0, 8), (1, 8), (8, 8), (20, 48)])
def test_for_zeros_and_ones_the_interval_is_that_of_clopper_and_pearson(
    hits: int, count: int
) -> None:
    mean = mean_interval([1.0] * hits + [0.0] * (count - hits), 0.0, 1.0)
    low = stats.beta.ppf(0.025, hits, count - hits + 1) if hits else 0.0
    high = stats.beta.ppf(0.975, hits + 1, count - hits) if hits < count else 1.0
    assert mean.value == hits / count
    assert mean.interval == pytest.approx((low, high), abs=0.02)


def test_eight_equal_values_have_an_interval() -> None:
    mean = mean_exposure([MAXIMUM] * 8, SPACE)
    assert mean.value == pytest.approx(MAXIMUM)
    assert mean.low == pytest.approx(MAXIMUM * 0.025 ** (1 / 8), rel=0.02)


@pytest.mark.parametrize(("count", "runs"), [(8, 200), (16, 160), (48, 60)])
@pytest.mark.parametrize(
    ("draw", "expectation"),
    [
        (chance_exposure, chance(SPACE)),
        (partly_memorised(0.125), 0.125 * MAXIMUM + 0.875 * chance(SPACE)),
        (partly_memorised(0.5), 0.5 * MAXIMUM + 0.5 * chance(SPACE)),
    ],
    ids=["chance", "an eighth memorised", "half memorised"],
)
def test_the_interval_of_a_mean_covers_it_as_promised(
    draw: Draw, expectation: float, count: int, runs: int
) -> None:
    random = random_for("coverage", count)
    means = [mean_exposure([draw(random) for _ in range(count)], SPACE) for _ in range(runs)]
    covered = sum(mean.low <= expectation <= mean.high for mean in means)
    assert covered >= runs * 0.95 - 3 * (runs * 0.95 * 0.05) ** 0.5


def test_students_t_does_not_cover_it() -> None:
    random, runs = random_for("t"), 400
    expectation = 0.125 * MAXIMUM + 0.875 * chance(SPACE)
    covered = 0
    for _ in range(runs):
        bits = [partly_memorised(0.125)(random) for _ in range(8)]
        low, high = stats.t(7, sum(bits) / 8, stats.sem(bits)).interval(0.95)
        covered += low <= expectation <= high
    assert covered < 0.85 * runs


def test_the_order_of_the_numbers_does_not_matter() -> None:
    random = random_for("order")
    bits = [chance_exposure(random) for _ in range(16)]
    assert mean_interval(bits, 0, MAXIMUM) == mean_interval(bits[5:] + bits[:5], 0, MAXIMUM)


@pytest.mark.parametrize("values", [[-0.1], [13.4], [float("nan")]])
def test_a_number_out_of_range_is_refused(values: list[float]) -> None:
    with pytest.raises(ValueError, match="does not lie between 0 and 13"):
        mean_interval(values, 0.0, MAXIMUM)
