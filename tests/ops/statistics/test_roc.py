"""ROC curves: the area, the true positive rate at a low false positive rate, their intervals."""

from __future__ import annotations

from math import exp, log, sqrt

import pytest
from chance_exposures import random_for
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import roc_auc_score

from robustbench_kd.ops.statistics.roc import auc, tpr_at

SCORES = st.lists(st.integers(-4, 4).map(float), min_size=2, max_size=30)


@given(SCORES, SCORES)
def test_the_area_is_that_of_scikit_learn(members: list[float], nonmembers: list[float]) -> None:
    truth = [1] * len(members) + [0] * len(nonmembers)
    area = auc(members, nonmembers)
    assert area.value == pytest.approx(roc_auc_score(truth, members + nonmembers))
    assert 0 <= area.low <= area.value <= area.high <= 1
    assert area.count == len(members) + len(nonmembers)


@given(SCORES, SCORES)
def test_swapping_the_sides_mirrors_area_and_interval(
    members: list[float], nonmembers: list[float]
) -> None:
    area, swapped = auc(members, nonmembers), auc(nonmembers, members)
    assert (area.value, area.low, area.high) == pytest.approx(
        (1 - swapped.value, 1 - swapped.high, 1 - swapped.low), abs=1e-9
    )


def test_perfect_separation_is_no_certainty() -> None:
    area = auc([2.0] * 16, [1.0] * 16)
    assert (area.value, area.high) == (1, 1)
    assert 0.75 < area.low < 0.9


def test_delongs_error_by_hand() -> None:
    """Members above 1, 1/2, 1 of two non-members, which are below 3/3 and 2/3 of the members."""
    area = auc([5.0, 2.0, 6.0], [1.0, 3.0])
    assert area.value == pytest.approx(5 / 6)
    half = 1.959964 * sqrt(1 / 12 / 3 + 1 / 18 / 2) / (5 / 36)
    assert area.high == pytest.approx(1 / (1 + exp(-log(5) - half)), abs=1e-6)
    assert area.low == pytest.approx(1 / (1 + exp(-log(5) + half)), abs=1e-6)


@pytest.mark.parametrize(("m", "n"), [(16, 16), (48, 48), (30, 120)])
@pytest.mark.parametrize(
    ("shift", "width"),
    [(0.0, 1.0), (1.19, 1.0), (2.33, 1.0), (1.5, 3.0), (0.0, 0.2)],
    ids=["chance", "0.8", "0.95", "wide members", "narrow members"],
)
def test_the_interval_of_an_area_covers_it_as_promised(
    m: int, n: int, shift: float, width: float
) -> None:
    random, runs = random_for("area", m, n, shift, width), 300
    expectation = stats.norm.cdf(shift / sqrt(1 + width**2))
    covered = 0
    for _ in range(runs):
        members = [random.gauss(shift, width) for _ in range(m)]
        area = auc(members, [random.gauss(0, 1) for _ in range(n)])
        covered += area.low <= expectation <= area.high
    assert covered >= runs * 0.95 - 3 * (runs * 0.95 * 0.05) ** 0.5


@pytest.mark.parametrize(
    ("members", "nonmembers", "count"),
    [([1.0], [1.0, 2.0], "1 members"), ([1.0, 2.0], [], "0 non-members")],
)
def test_an_area_needs_two_of_each(
    members: list[float], nonmembers: list[float], count: str
) -> None:
    with pytest.raises(ValueError, match=f"{count} are too few"):
        auc(members, nonmembers)


def test_a_score_that_is_not_a_number_is_refused() -> None:
    with pytest.raises(ValueError, match="of the non-members is not a number"):
        tpr_at([1.0], [float("nan")], 0.5)


def test_members_above_the_threshold_of_one_non_member_in_ten() -> None:
    nonmembers = [float(score) for score in range(10)]
    rate = tpr_at([8.5, 9.0, 9.5, 20.0], nonmembers, 0.1)
    assert (rate.threshold, rate.false_positives, rate.nonmembers) == (8, 1, 10)
    assert (rate.hits, rate.count, rate.value) == (4, 4, 1)
    rate = tpr_at([7.0, 8.0, 9.0, 20.0], nonmembers, 0.1)
    assert (rate.hits, rate.count) == (2, 4)
    assert rate.interval == pytest.approx((0.15, 0.85), abs=0.005)


def test_ties_with_non_members_do_not_count() -> None:
    rate = tpr_at([1.0] * 50, [1.0] * 3 + [0.0] * 97, 0.02)
    assert (rate.hits, rate.false_positives) == (0, 0)
    rate = tpr_at([1.0] * 50, [1.0] * 3 + [0.0] * 97, 0.03)
    assert (rate.hits, rate.false_positives) == (50, 3)


@given(SCORES, SCORES, st.floats(0.04, 0.9))
def test_no_more_non_members_exceed_the_threshold_than_allowed_and_no_lower_one_would_do(
    members: list[float], nonmembers: list[float], fpr: float
) -> None:
    if fpr * len(nonmembers) < 1:
        with pytest.raises(ValueError, match="needs at least"):
            tpr_at(members, nonmembers, fpr)
        return
    rate = tpr_at(members, nonmembers, fpr)
    assert rate.false_positives <= fpr * len(nonmembers) + 1e-9
    lower = [score for score in nonmembers if score < rate.threshold]
    if lower:
        assert sum(score > max(lower) for score in nonmembers) > fpr * len(nonmembers) - 1e-9


def test_one_percent_needs_a_hundred_non_members() -> None:
    with pytest.raises(ValueError, match=r"rate of 0\.01 needs at least 100 non-members, not 99"):
        tpr_at([1.0], [0.0] * 99)
    assert tpr_at([1.0], [0.0] * 100).hits == 1


@pytest.mark.parametrize("fpr", [0.0, 1.0, float("nan")])
def test_an_impossible_rate_is_refused(fpr: float) -> None:
    with pytest.raises(ValueError, match="must lie between 0 and 1"):
        tpr_at([1.0], [0.0], fpr)


def test_the_interval_covers_the_rate_at_its_threshold() -> None:
    random, runs, covered = random_for("threshold"), 400, 0
    for _ in range(runs):
        nonmembers = [random.gauss(0, 1) for _ in range(200)]
        rate = tpr_at([random.gauss(1.5, 1) for _ in range(40)], nonmembers, 0.05)
        low, high = rate.interval
        covered += low <= stats.norm.sf(rate.threshold - 1.5) <= high
    assert covered >= runs * 0.95 - 3 * (runs * 0.95 * 0.05) ** 0.5


@pytest.mark.parametrize(("count", "fpr"), [(100, 0.01), (300, 0.01), (80, 0.05)])
def test_low_and_high_cover_the_true_positive_rate_at_the_requested_one(
    count: int, fpr: float
) -> None:
    random, runs, covered, narrow = random_for("rate", count), 200, 0, 0
    expectation = stats.norm.sf(stats.norm.isf(fpr) - 1.5)
    for _ in range(runs):
        nonmembers = [random.gauss(0, 1) for _ in range(count)]
        rate = tpr_at([random.gauss(1.5, 1) for _ in range(count)], nonmembers, fpr)
        covered += rate.low <= expectation <= rate.high
        narrow += rate.interval[0] <= expectation <= rate.interval[1]
    assert covered >= runs * 0.95 - 3 * (runs * 0.95 * 0.05) ** 0.5
    assert narrow < 0.85 * runs  # Wilson's at the threshold alone does not


def test_where_non_members_are_few_the_interval_reaches_zero() -> None:
    rate = tpr_at([9.0] * 50, [float(score) for score in range(100)])
    assert (rate.value, rate.low) == (0, 0)
    rate = tpr_at([99.5] * 50, [float(score) for score in range(100)])
    assert (rate.value, rate.low, rate.high) == (1, 0, 1)
    rate = tpr_at([999.5] * 50, [float(score) for score in range(1000)])
    assert rate.low > 0.85
