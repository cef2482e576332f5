"""Exposure: exact distributions of ranks, leakage, bounds of epsilon, and samples needed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from itertools import product
from math import exp, expm1, inf, isinf, log, log1p, log2

import pytest
from chance_exposures import MAXIMUM, SPACE, partly_memorised, random_for
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from robustbench_kd.ops.privacy.exposure import (
    CHANCE,
    Dynamics,
    chance,
    chance_p,
    clopper_pearson_lower,
    discoverable,
    dynamics,
    epsilon_bound,
    exposure,
    leakage,
    mean_exposure,
    memorised_p,
    tries,
)


def test_exposure_is_the_bits_by_which_a_secret_stands_out() -> None:
    assert exposure(1, 1024) == 10
    assert exposure(512, 1024) == 1
    assert exposure(1024, 1024) == 0


@pytest.mark.parametrize("rank", [0, 1025])
def test_a_rank_outside_the_space_is_refused(rank: int) -> None:
    with pytest.raises(ValueError, match=f"no rank {rank} among 1024"):
        exposure(rank, 1024)


@pytest.mark.parametrize("candidates", [1, 2, 10, 1000])
def test_chance_is_the_mean_over_all_ranks(candidates: int) -> None:
    mean = sum(exposure(rank, candidates) for rank in range(1, candidates + 1)) / candidates
    assert chance(candidates) == pytest.approx(mean, abs=1e-12)


def test_chance_tends_to_one_over_ln_two() -> None:
    assert pytest.approx(1.4427, abs=1e-4) == CHANCE
    assert 0.00079 < CHANCE - chance(SPACE) < 0.00081


# P-values.


@pytest.mark.parametrize("count", [1, 8, 48])
@pytest.mark.parametrize("mean", [0.3, 1.44, 3.0, 13.0])
def test_the_p_values_are_the_tails_of_a_gamma(count: int, mean: float) -> None:
    gamma, total = stats.gamma(count), count * mean * log(2)
    assert memorised_p([mean] * count) == pytest.approx(gamma.sf(total), rel=1e-9)
    raised = total + count * log(2) * (CHANCE - chance(SPACE))
    two_sided = min(1.0, 2 * min(gamma.sf(total), gamma.cdf(raised)))
    assert chance_p([mean] * count, SPACE) == pytest.approx(two_sided, rel=1e-9)


@pytest.mark.parametrize(("mean", "p"), [(2.31, 0.06), (2.70, 0.018), (3.35, 0.002)])
def test_eight_canaries_need_three_bits_to_be_significant(mean: float, p: float) -> None:
    assert memorised_p([mean] * 8) == pytest.approx(p, rel=0.03)


def test_thirty_two_secrets_ranked_first_are_significant() -> None:
    assert memorised_p([MAXIMUM] * 32) < 1e-80
    assert chance_p([MAXIMUM] * 32, SPACE) < 1e-80


def test_secrets_ranked_last_are_significant_on_the_other_side() -> None:
    assert memorised_p([0.1] * 32) > 0.999
    assert 0 < chance_p([0.1] * 32, SPACE) < 1e-10


@pytest.mark.parametrize("candidates", [4, 30])
def test_the_one_sided_p_exceeds_no_level_over_all_ranks(candidates: int) -> None:
    """Exact, as all triples of ranks are tried: P(p <= level) <= level at every level."""
    bits = [exposure(rank, candidates) for rank in range(1, candidates + 1)]
    ps = sorted(memorised_p(triple) for triple in product(bits, repeat=3))
    for place, p in enumerate(ps, 1):
        assert place == len(ps) or ps[place] - p < 1e-12 or place / len(ps) <= p


@pytest.mark.parametrize("candidates", [100, SPACE])
@pytest.mark.parametrize("level", [0.05, 0.01])
def test_the_two_sided_p_holds_its_level_for_integer_ranks(candidates: int, level: float) -> None:
    random, runs = random_for("two-sided", candidates, level), 4000
    bits = [exposure(rank, candidates) for rank in range(1, candidates + 1)]
    samples = ([random.choice(bits) for _ in range(8)] for _ in range(runs))
    hits = sum(chance_p(sample, candidates) <= level for sample in samples)
    error = (level * (1 - level) / runs) ** 0.5
    assert level - 5 * error < hits / runs < level + 3 * error


def test_the_worst_possible_rank_alone_has_a_p_above_its_chance() -> None:
    assert chance_p([0.0], SPACE) >= 2 / SPACE


@pytest.mark.parametrize("p", [memorised_p, lambda bits: chance_p(bits, SPACE)])
def test_no_exposure_has_no_p_value(p: Callable[[list[float]], float]) -> None:
    with pytest.raises(ValueError, match="no mean of no numbers"):
        p([])
    with pytest.raises(ValueError, match="does not lie between"):
        p([-1.0])


# Leakage.


def test_leakage_is_zero_at_chance_and_one_where_all_rank_first() -> None:
    assert leakage([CHANCE] * 8, [SPACE] * 8).value == 0
    assert leakage([MAXIMUM] * 8, [SPACE] * 8).value == pytest.approx(1)
    assert leakage([0.0] * 8, [SPACE] * 8).value == 0


def test_leakage_normalises_each_canary_by_its_own_space() -> None:
    spaces = [100, 10**6]
    halfway = [(CHANCE + log2(candidates)) / 2 for candidates in spaces]
    assert leakage(halfway, spaces).value == pytest.approx(0.5)
    assert leakage([log2(100), CHANCE], spaces).value == pytest.approx(0.5)


def test_good_and_bad_luck_cancel_in_leakage() -> None:
    share = leakage([0.0, 2 * CHANCE] * 8, [SPACE] * 16)
    assert share.low == 0
    assert share.value == pytest.approx(0, abs=1e-12)


def test_leakage_is_the_mean_exposure_on_another_scale() -> None:
    random = random_for("scale")
    bits = [partly_memorised(0.5)(random) for _ in range(12)]
    share, mean = leakage(bits, [SPACE] * 12), mean_exposure(bits, SPACE)
    for end, bound in ((share.value, mean.value), (share.high, mean.high)):
        assert end == pytest.approx((bound - CHANCE) / (MAXIMUM - CHANCE))


def test_a_space_too_small_to_leak_is_refused() -> None:
    with pytest.raises(ValueError, match="three candidates"):
        leakage([1.0], [2])


# Epsilon.


@pytest.mark.parametrize(("hits", "count"), [(0, 8), (2, 8), (8, 8), (31, 32), (1, 500)])
def test_the_lower_bound_of_a_share_is_a_quantile_of_a_beta(hits: int, count: int) -> None:
    expected = stats.beta.ppf(0.05, hits, count - hits + 1) if hits else 0.0
    assert clopper_pearson_lower(hits, count) == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize(
    ("hits", "count", "epsilon"), [(32, 32, 11.5), (8, 8, 10.0), (2, 8, 6.2), (0, 8, 0.0)]
)
def test_epsilon_at_rank_one_of_ten_thousand(hits: int, count: int, epsilon: float) -> None:
    ranks = [1] * hits + [5000] * (count - hits)
    assert epsilon_bound(ranks, SPACE, thresholds=(1,)) == pytest.approx(epsilon, abs=0.04)


def test_three_thresholds_cost_a_third_of_a_nat() -> None:
    single, triple = (
        epsilon_bound([1] * 32, SPACE, thresholds=thresholds) for thresholds in ((1,), (1, 10, 100))
    )
    share = (0.05 / 3) ** (1 / 32)
    assert triple == pytest.approx(log(share / (1 - share) * 9999), abs=1e-9)
    assert 0.3 < single - triple < 0.4


def test_copies_divide_epsilon() -> None:
    assert epsilon_bound([1] * 8, SPACE, copies=16) == epsilon_bound([1] * 8, SPACE) / 16


@given(st.lists(st.integers(1, SPACE), min_size=2, max_size=12), st.data())
def test_a_better_rank_never_lowers_epsilon(ranks: list[int], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(ranks) - 1))
    better = [*ranks]
    better[place] = data.draw(st.integers(1, ranks[place]))
    assert epsilon_bound(better, SPACE) >= epsilon_bound(ranks, SPACE)


@pytest.mark.parametrize("epsilon", [3.0, 7.0, 9.2])
def test_the_bound_stays_below_a_known_epsilon(epsilon: float) -> None:
    """Randomised response keeps the secret first with the largest chance that epsilon allows."""
    random, runs = random_for("response", epsilon), 200
    keep = exp(epsilon) / (exp(epsilon) + SPACE - 1)
    above = 0
    for _ in range(runs):
        ranks = [1 if random.random() < keep else random.randrange(2, SPACE + 1) for _ in range(32)]
        above += epsilon_bound(ranks, SPACE) > epsilon
    assert above <= runs * 0.05 + 3 * (runs * 0.05 * 0.95) ** 0.5


@pytest.mark.parametrize(
    ("ranks", "copies", "candidates"),
    [([], 1, 100), ([0], 1, 100), ([101], 1, 100), ([1], 0, 100)],
)
def test_no_epsilon_without_ranks_and_copies(
    ranks: list[int], copies: int, candidates: int
) -> None:
    with pytest.raises(ValueError):
        epsilon_bound(ranks, candidates, copies)


# Samples needed.


def test_two_samples_contain_a_fair_coin_three_times_of_four() -> None:
    assert tries(log(0.5), 0.75) == 2
    assert tries(log(0.5), 0.7501) == 3
    assert tries(log(0.3), 1 - 0.7**5) == 5  # rounding must not add a sixth
    assert tries(0.0, 0.999) == 1


@given(st.floats(-25, -1e-6), st.floats(0.01, 0.99))
def test_tries_are_the_fewest_that_suffice(log_p: float, p: float) -> None:
    n, miss = tries(log_p, p), log1p(-exp(log_p))
    assert -expm1(n * miss) >= p * (1 - 1e-9)
    assert n == 1 or -expm1((n - 1) * miss) < p


def test_very_many_tries_still_grow_as_the_inverse_probability() -> None:
    assert log(tries(-200.0)) == pytest.approx(200 + log(log(2)))
    assert tries(-30.0001) == pytest.approx(tries(-29.9999), rel=1e-3)
    assert isinf(tries(-1e4))
    assert isinf(tries(-inf))


@pytest.mark.parametrize(("log_p", "p"), [(0.1, 0.5), (float("nan"), 0.5), (-1.0, 1.0)])
def test_no_tries_for_what_is_no_probability(log_p: float, p: float) -> None:
    with pytest.raises(ValueError, match="no number of tries"):
        tries(log_p, p)


def test_more_tries_discover_more() -> None:
    log_ps = [log(0.9), log(0.1), log(1e-3), log(1e-9)]
    assert [discoverable(log_ps, n) for n in (1, 10, 1000)] == [(1, 4), (2, 4), (3, 4)]


# Memorisation dynamics.


def test_memorised_examples_are_counted_by_who_else_memorised_them() -> None:
    teacher = [True, True, True, True, False, False]
    control = [True, True, False, False, True, False]
    student = [True, False, True, False, False, True]
    assert dynamics(teacher, control, student) == Dynamics(
        teacher=(4, 6), control=(3, 6), student=(3, 6), inherited=(1, 2), easy=(1, 3)
    )


def test_where_nothing_was_memorised_shares_have_no_count() -> None:
    counts = dynamics([False], [False], [False])
    assert (counts.inherited, counts.easy) == ((0, 0), (0, 0))


def test_the_three_networks_need_the_same_examples() -> None:
    with pytest.raises(ValueError):
        dynamics([True], [True], [True, False])


def test_metrics_of_records_need_neither_torch_nor_numpy() -> None:
    code = (
        "import sys; import robustbench_kd.ops.privacy.exposure as _; "
        "import robustbench_kd.ops.statistics.roc as _; "
        "print({'torch', 'numpy', 'scipy'} & set(sys.modules))"
    )
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert process.stdout.strip() == "set()"
