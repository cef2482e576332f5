"""Wilson's interval, McNemar's tests and Tango's interval against scipy and known values."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from robustbench_kd.ops.statistics.paired_tests import mcnemar_exact, mcnemar_two_sided, tango
from robustbench_kd.ops.statistics.proportions import wilson


@given(hits=st.integers(0, 400), more=st.integers(0, 400), level=st.sampled_from([0.9, 0.95, 0.99]))
def test_wilsons_interval_is_scipys(hits: int, more: int, level: float) -> None:
    count = max(1, hits + more)
    expected = binomtest(hits, count).proportion_ci(level, method="wilson")
    assert wilson(hits, count, level) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_none_of_five_hundred_is_not_nothing() -> None:
    low, high = wilson(0, 500)
    assert low == 0.0
    assert round(100 * high, 1) == 0.8
    assert wilson(500, 500) == (pytest.approx(1 - high), 1.0)


@pytest.mark.parametrize(("hits", "count"), [(0, 0), (-1, 5), (6, 5)])
def test_impossible_shares_are_refused(hits: int, count: int) -> None:
    with pytest.raises(ValueError, match="no share"):
        wilson(hits, count)


@given(lost=st.integers(0, 300), won=st.integers(0, 300))
def test_mcnemars_exact_test_is_scipys(lost: int, won: int) -> None:
    n = lost + won
    one_sided = binomtest(lost, n, alternative="greater").pvalue if n else 1.0
    two_sided = binomtest(lost, n).pvalue if n else 1.0
    assert mcnemar_exact(lost, won) == pytest.approx(one_sided, rel=1e-9, abs=1e-300)
    assert mcnemar_two_sided(lost, won) == pytest.approx(two_sided, rel=1e-9, abs=1e-300)


def test_mcnemar_by_hand() -> None:
    """Five lost and none won is the least that is significant at 0.05."""
    assert mcnemar_exact(5, 0) == pytest.approx(1 / 32)
    assert mcnemar_exact(4, 0) == pytest.approx(1 / 16)
    assert mcnemar_exact(0, 0) == 1.0
    assert mcnemar_two_sided(5, 0) == pytest.approx(1 / 16)


@pytest.mark.parametrize(
    ("lost", "won", "count", "low", "high"),
    [
        (0, 0, 500, -0.76, 0.76),
        (7, 0, 1000, 0.31, 1.44),
        (40, 20, 1000, 0.50, 3.60),
        (43, 14, 256, 5.75, 17.15),
    ],
)
def test_tangos_interval_has_the_known_values(
    lost: int, won: int, count: int, low: float, high: float
) -> None:
    """In percentage points; derived from the likelihood, and their coverage simulated."""
    interval = tuple(round(100 * end, 2) for end in tango(lost, won, count))
    assert interval == (pytest.approx(low, abs=0.006), pytest.approx(high, abs=0.006))


@given(st.integers(0, 60), st.integers(0, 60), st.integers(1, 500))
def test_tangos_interval_holds_the_difference_and_mirrors(lost: int, won: int, more: int) -> None:
    count = lost + won + more
    low, high = tango(lost, won, count)
    assert -1 <= low <= (lost - won) / count <= high <= 1
    assert tango(won, lost, count) == pytest.approx((-high, -low), abs=1e-9)


@pytest.mark.parametrize(("lost", "won", "count"), [(0, 0, 0), (-1, 0, 5), (3, 3, 5)])
def test_impossible_pairs_are_refused(lost: int, won: int, count: int) -> None:
    with pytest.raises(ValueError, match="no pairs"):
        tango(lost, won, count)
