"""McNemar's test, its power and Holm's values: against scipy, published sizes, and exact sums."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, multinomial

from robustbench_kd.ops.statistics.multiple_testing import holm
from robustbench_kd.ops.statistics.paired_tests import mcnemar_midp
from robustbench_kd.ops.statistics.power import (
    POWER,
    critical,
    detectable,
    examples_needed,
    power,
)

counts = st.integers(0, 400)


@given(counts, counts)
def test_the_midp_value_is_scipys_tail_less_half_of_what_was_seen(lost: int, won: int) -> None:
    n = lost + won
    exact = binom.sf(lost, n, 0.5) + binom.pmf(lost, n, 0.5) / 2
    assert mcnemar_midp(lost, won) == pytest.approx(exact, rel=1e-9, abs=1e-300)
    assert mcnemar_midp(lost, won) + mcnemar_midp(won, lost) == pytest.approx(1)


@pytest.mark.parametrize(
    ("lost", "won", "p"), [(7, 0, 0.0039), (40, 20, 0.0049), (43, 14, 0.00005), (0, 0, 0.5)]
)
def test_the_midp_value_has_the_known_values(lost: int, won: int, p: float) -> None:
    assert mcnemar_midp(lost, won) == pytest.approx(p, abs=5e-5)


@pytest.mark.parametrize("alpha", [0.05, 0.01])
@pytest.mark.parametrize("count", [100, 256, 1000])
@pytest.mark.parametrize("churn", [0.002, 0.01, 0.05])
def test_one_comparison_raises_a_false_alarm_in_at_most_alpha_of_cases(
    alpha: float, count: int, churn: float
) -> None:
    # Exact: every number of pairs that may differ, each with its probability.
    assert power(count, 0, churn, alpha) <= alpha
    assert power(count, 0, churn, alpha, "exact") <= power(count, 0, churn, alpha)


@given(st.integers(0, 300), st.sampled_from([0.05, 0.01, 0.001]))
def test_the_critical_number_is_the_first_that_is_significant(pairs: int, alpha: float) -> None:
    k = critical(pairs, alpha)
    assert k > pairs or mcnemar_midp(k, pairs - k) <= alpha
    assert mcnemar_midp(k - 1, pairs - k + 1) > alpha or k == 0


def test_power_is_that_of_all_tables() -> None:
    n, lost, won = 30, 0.15, 0.05
    whole = sum(
        multinomial.pmf([b, c, n - b - c], n, [lost, won, 1 - lost - won])
        for b in range(n + 1)
        for c in range(n + 1 - b)
        if mcnemar_midp(b, c) <= 0.05
    )
    assert power(n, 0.10, won) == pytest.approx(whole, abs=1e-6)


def test_power_is_what_simulated_bits_show() -> None:
    draw = np.random.default_rng(0)
    n, d, churn, runs = 1000, 0.02, 0.01, 4000
    u = draw.random((runs, n))
    lost, won = (u < churn + d).sum(1), (u > 1 - churn).sum(1)
    shown = np.mean([mcnemar_midp(int(b), int(c)) <= 0.05 for b, c in zip(lost, won, strict=True)])
    assert power(n, d, churn) == pytest.approx(shown, abs=3 * (0.25 / runs) ** 0.5)


# Points; exact test, 80 % power; churn each way of 0, 0.5, 1, 2 and 5 %.
PUBLISHED = {
    (100, 0.05): (6.6, 7.6, 8.3, 9.5, 12.1),
    (256, 0.05): (2.6, 3.4, 3.9, 4.8, 6.6),
    (500, 0.05): (1.3, 2.0, 2.4, 3.1, 4.4),
    (1000, 0.05): (0.7, 1.2, 1.5, 2.0, 2.9),
    (2000, 0.05): (0.3, 0.8, 1.0, 1.3, 2.0),
    (256, 0.01): (3.5, 4.8, 5.4, 6.5, 8.7),
    (1000, 0.01): (0.9, 1.7, 2.1, 2.6, 3.8),
}


@pytest.mark.parametrize(("size", "drops"), PUBLISHED.items())
def test_the_smallest_detectable_drop_is_the_computed_one(
    size: tuple[int, float], drops: tuple[float, ...]
) -> None:
    count, alpha = size
    for churn, drop in zip((0, 0.005, 0.01, 0.02, 0.05), drops, strict=True):
        least = detectable(count, churn, alpha, "exact")
        assert least is not None
        assert 100 * least == pytest.approx(drop, abs=0.06)
        assert power(count, least, churn, alpha, "exact") >= POWER
        mid = detectable(count, churn, alpha)
        assert mid is not None
        assert mid < least


@pytest.mark.parametrize(
    ("drop", "churn"), [(0.02, 0.01), (0.02, 0.05), (0.01, 0.01), (0.05, 0.02), (0.3, 0.1)]
)
def test_so_many_examples_show_a_drop_and_a_fifth_fewer_do_not(drop: float, churn: float) -> None:
    count = examples_needed(drop, churn)
    assert power(count, drop, churn) == pytest.approx(POWER, abs=0.05)
    assert power(int(0.8 * count), drop, churn) < POWER - 0.02
    assert examples_needed(drop, churn, 0.01) > count


@pytest.mark.parametrize("bad", [(0, 0.1, 0.1), (10, -0.1, 0.1), (10, 0.5, 0.4)])
def test_power_refuses_what_no_network_can_do(bad: tuple[int, float, float]) -> None:
    with pytest.raises(ValueError, match="no drop of"):
        power(*bad)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=4))
def test_holms_values_are_those_of_the_closed_test(values: list[float]) -> None:
    # A hypothesis falls where every set that holds it falls, by Bonferroni's test of the set.
    indices = range(len(values))
    sets = [s for k in indices for s in combinations(indices, k + 1)]
    for n, adjusted in enumerate(holm(values)):
        closed = max(min(1.0, len(s) * min(values[i] for i in s)) for s in sets if n in s)
        assert adjusted == pytest.approx(closed)


def test_holms_values_have_the_known_values() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []
