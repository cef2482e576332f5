"""Exposure: exact laws of ranks, and intervals that keep what they promise."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from itertools import product
from math import exp, expm1, inf, isinf, log, log1p, log2
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from robustbench_kd.core.seed import Seed
from robustbench_kd.ops.privacy.exposure import (
    CHANCE,
    Dynamics,
    at_least,
    chance,
    chance_p,
    discoverable,
    dynamics,
    epsilon_bound,
    exposure,
    leakage,
    mean_exposure,
    memorised_p,
    reduction,
    tries,
)
from robustbench_kd.ops.statistics.bootstrap import mean_interval

SPACE = 10_000
CEILING = log2(SPACE)
Draw = Callable[[Random], float]


def dice(*names: object) -> Random:
    seed = Seed(7)
    for name in names:
        seed = seed / name
    return Random(seed.number())


def stranger(noise: Random) -> float:
    """The exposure of a secret that was never planted."""
    return exposure(noise.randrange(SPACE) + 1, SPACE)


def heaps(share: float) -> Draw:
    """Strangers, but for a share that is memorised outright."""
    return lambda noise: CEILING if noise.random() < share else stranger(noise)


def test_exposure_is_the_bits_by_which_a_secret_stands_out() -> None:
    assert exposure(1, 1024) == 10
    assert exposure(512, 1024) == 1
    assert exposure(1024, 1024) == 0


@pytest.mark.parametrize("rank", [0, 1025])
def test_a_rank_outside_the_space_is_refused(rank: int) -> None:
    with pytest.raises(ValueError, match=f"no rank {rank} among 1024"):
        exposure(rank, 1024)


@pytest.mark.parametrize("of", [1, 2, 10, 1000])
def test_chance_is_the_mean_over_all_ranks(of: int) -> None:
    mean = sum(exposure(rank, of) for rank in range(1, of + 1)) / of
    assert chance(of) == pytest.approx(mean, abs=1e-12)


def test_chance_nears_one_over_ln_two() -> None:
    assert pytest.approx(1.4427, abs=1e-4) == CHANCE
    assert 0.00079 < CHANCE - chance(SPACE) < 0.00081


@pytest.mark.parametrize("count", [1, 8, 48])
@pytest.mark.parametrize("mean", [0.3, 1.44, 3.0, 13.0])
def test_the_p_values_are_the_tails_of_a_gamma(count: int, mean: float) -> None:
    law, total = stats.gamma(count), count * mean * log(2)
    assert memorised_p([mean] * count) == pytest.approx(law.sf(total), rel=1e-9)
    raised = total + count * log(2) * (CHANCE - chance(SPACE))
    both = min(1.0, 2 * min(law.sf(total), law.cdf(raised)))
    assert chance_p([mean] * count, SPACE) == pytest.approx(both, rel=1e-9)


@pytest.mark.parametrize(("mean", "p"), [(2.31, 0.06), (2.70, 0.018), (3.35, 0.002)])
def test_eight_canaries_need_three_bits_to_be_told_from_luck(mean: float, p: float) -> None:
    assert memorised_p([mean] * 8) == pytest.approx(p, rel=0.03)


def test_thirty_two_secrets_ranked_first_are_no_luck() -> None:
    assert memorised_p([CEILING] * 32) < 1e-80
    assert chance_p([CEILING] * 32, SPACE) < 1e-80


def test_secrets_pushed_to_the_end_are_no_luck_either() -> None:
    assert memorised_p([0.1] * 32) > 0.999
    assert 0 < chance_p([0.1] * 32, SPACE) < 1e-10


@pytest.mark.parametrize("of", [4, 30])
def test_no_level_is_overstepped_by_the_one_sided_p_over_all_ranks(of: int) -> None:
    """Exact, as all triples of ranks are tried: P(p <= level) <= level at every level."""
    bits = [exposure(rank, of) for rank in range(1, of + 1)]
    found = sorted(memorised_p(three) for three in product(bits, repeat=3))
    for place, p in enumerate(found, 1):
        assert place == len(found) or found[place] - p < 1e-12 or place / len(found) <= p


@pytest.mark.parametrize("of", [100, SPACE])
@pytest.mark.parametrize("level", [0.05, 0.01])
def test_the_two_sided_p_holds_its_level_for_whole_ranks(of: int, level: float) -> None:
    noise, runs = dice("two-sided", of, level), 4000
    bits = [exposure(rank, of) for rank in range(1, of + 1)]
    hits = sum(chance_p([noise.choice(bits) for _ in range(8)], of) <= level for _ in range(runs))
    error = (level * (1 - level) / runs) ** 0.5
    assert level - 5 * error < hits / runs < level + 3 * error


def test_the_worst_possible_rank_alone_has_a_p_of_more_than_its_chance() -> None:
    assert chance_p([0.0], SPACE) >= 2 / SPACE


@pytest.mark.parametrize("p", [memorised_p, lambda bits: chance_p(bits, SPACE)])
def test_no_exposure_has_no_p_value(p: Callable[[list[float]], float]) -> None:
    with pytest.raises(ValueError, match="no mean of no numbers"):
        p([])
    with pytest.raises(ValueError, match="does not lie between"):
        p([-1.0])


@pytest.mark.parametrize(("hits", "count"), [(0, 8), (1, 8), (8, 8), (20, 48)])
def test_of_zeros_and_ones_the_interval_is_that_of_clopper_and_pearson(
    hits: int, count: int
) -> None:
    found = mean_interval([1.0] * hits + [0.0] * (count - hits), 0.0, 1.0)
    low = stats.beta.ppf(0.025, hits, count - hits + 1) if hits else 0.0
    high = stats.beta.ppf(0.975, hits + 1, count - hits) if hits < count else 1.0
    assert found.value == hits / count
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.02)


def test_eight_of_eight_ranked_first_is_not_a_certainty() -> None:
    found = mean_exposure([CEILING] * 8, SPACE)
    assert found.value == pytest.approx(CEILING)
    assert found.low == pytest.approx(CEILING * 0.025 ** (1 / 8), rel=0.02)


@pytest.mark.parametrize("bits", [[-0.1], [13.4], [float("nan")]])
def test_an_impossible_exposure_is_refused(bits: list[float]) -> None:
    with pytest.raises(ValueError, match="does not lie between 0 and 13"):
        mean_exposure(bits, SPACE)


@pytest.mark.parametrize(("count", "runs"), [(8, 200), (16, 160), (48, 60)])
@pytest.mark.parametrize(
    ("draw", "mean"),
    [
        (stranger, chance(SPACE)),
        (heaps(0.125), 0.125 * CEILING + 0.875 * chance(SPACE)),
        (heaps(0.5), 0.5 * CEILING + 0.5 * chance(SPACE)),
    ],
    ids=["chance", "an eighth memorised", "half memorised"],
)
def test_the_interval_of_a_mean_covers_it_as_often_as_it_says(
    draw: Draw, mean: float, count: int, runs: int
) -> None:
    noise = dice("coverage", count)
    found = [mean_exposure([draw(noise) for _ in range(count)], SPACE) for _ in range(runs)]
    covered = sum(one.low <= mean <= one.high for one in found)
    assert covered >= runs * 0.95 - 3 * (runs * 0.95 * 0.05) ** 0.5


def test_students_t_would_not_have() -> None:
    noise, runs, mean = dice("t"), 400, 0.125 * CEILING + 0.875 * chance(SPACE)
    covered = 0
    for _ in range(runs):
        bits = [heaps(0.125)(noise) for _ in range(8)]
        low, high = stats.t(7, sum(bits) / 8, stats.sem(bits)).interval(0.95)
        covered += low <= mean <= high
    assert covered < 0.85 * runs


def test_the_order_of_canaries_does_not_matter() -> None:
    noise = dice("order")
    pairs = [(stranger(noise), heaps(0.7)(noise)) for _ in range(16)]
    turned = pairs[5:] + pairs[:5]
    assert mean_exposure([a for a, _ in pairs], SPACE) == mean_exposure(
        [a for a, _ in turned], SPACE
    )
    first, second = (
        reduction([[a for a, _ in some]], [[b for _, b in some]], SPACE) for some in (pairs, turned)
    )
    assert first == second


def test_leakage_is_zero_at_chance_and_one_where_all_rank_first() -> None:
    assert leakage([CHANCE] * 8, [SPACE] * 8).value == 0
    assert leakage([CEILING] * 8, [SPACE] * 8).value == pytest.approx(1)
    assert leakage([0.0] * 8, [SPACE] * 8).value == 0


def test_leakage_averages_spaces_of_different_size_canary_by_canary() -> None:
    spaces = [100, 10**6]
    halfway = [(CHANCE + log2(of)) / 2 for of in spaces]
    assert leakage(halfway, spaces).value == pytest.approx(0.5)
    assert leakage([log2(100), CHANCE], spaces).value == pytest.approx(0.5)


def test_good_and_bad_luck_cancel_in_leakage() -> None:
    found = leakage([0.0, 2 * CHANCE] * 8, [SPACE] * 16)
    assert found.low == 0
    assert found.value == pytest.approx(0, abs=1e-12)


def test_leakage_is_the_mean_exposure_on_another_scale() -> None:
    bits = [heaps(0.5)(noise) for noise in [dice("scale")] for _ in range(12)]
    found, plain = leakage(bits, [SPACE] * 12), mean_exposure(bits, SPACE)
    for share, mean in ((found.value, plain.value), (found.high, plain.high)):
        assert share == pytest.approx((mean - CHANCE) / (CEILING - CHANCE))


def test_a_space_too_small_to_leak_in_is_refused() -> None:
    with pytest.raises(ValueError, match="three candidates"):
        leakage([1.0], [2])


def test_three_quarters_of_the_excess_gone_is_a_reduction_of_three_quarters() -> None:
    found = reduction([[CHANCE + 1] * 16], [[CHANCE + 4] * 16], SPACE)
    assert found is not None
    assert found.value == pytest.approx(0.75)
    assert found.low < 0.75 < found.high
    assert found.count == 16


def test_seeds_are_pooled_pair_by_pair() -> None:
    noise = dice("pool")
    student = [stranger(noise) for _ in range(24)]
    reference = [heaps(0.8)(noise) for _ in range(24)]
    ours, theirs = ([side[at : at + 8] for at in (0, 8, 16)] for side in (student, reference))
    assert reduction(ours, theirs, SPACE) == reduction([student], [reference], SPACE)


def test_where_the_reference_memorised_nothing_there_is_no_reduction() -> None:
    noise = dice("nothing")
    reference = [stranger(noise) for _ in range(16)]
    assert reduction([[0.0] * 16], [reference], SPACE) is None


def test_where_the_reference_could_be_lucky_there_is_no_reduction() -> None:
    lucky = [0.2, 0.5, 1.0, 1.5, 2.0, 2.5, 4.0, 5.5]  # mean 2.15 bits, p = 0.09
    assert reduction([[1.0] * 8], [lucky], SPACE) is None
    assert reduction([[1.0] * 8], [[3 + bits for bits in lucky]], SPACE) is not None


def test_a_student_equal_to_its_reference_reduces_nothing() -> None:
    noise = dice("equal")
    bits = [heaps(0.6)(noise) for _ in range(32)]
    found = reduction([bits], [bits], SPACE)
    assert found is not None
    assert found.value == 0
    assert found.low < 0 < found.high


def test_pairing_by_canary_narrows_the_reduction() -> None:
    noise = dice("pairing")
    bits = sorted(heaps(0.6)(noise) for _ in range(32))
    paired, crossed = reduction([bits], [bits], SPACE), reduction([bits[::-1]], [bits], SPACE)
    assert paired is not None
    assert crossed is not None
    assert paired.high - paired.low < 0.6 * (crossed.high - crossed.low)


@pytest.mark.parametrize(
    ("students", "references"),
    [([[1.0]], [[1.0], [2.0]]), ([[1.0]], [[1.0, 2.0]]), ([], []), ([[99.0]], [[9.0]])],
    ids=["seeds", "canaries", "none", "impossible"],
)
def test_what_does_not_pair_is_refused(
    students: list[list[float]], references: list[list[float]]
) -> None:
    with pytest.raises(ValueError):
        reduction(students, references, SPACE)


@pytest.mark.parametrize(("count", "runs"), [(16, 80), (48, 40)])
@pytest.mark.parametrize("stays", [0.1, 0.5])
def test_the_interval_of_a_reduction_covers_it(count: int, runs: int, stays: float) -> None:
    """Six canaries of ten are memorised by the reference, and a share of these by the student."""
    noise = dice("reduction", count, stays)
    top = CEILING - CHANCE
    true = 1 - (0.6 * stays * top) / (0.6 * top)
    covered = asked = 0
    for _ in range(runs):
        student, reference = [], []
        for _ in range(count):
            kept = noise.random() < 0.6
            reference.append(CEILING if kept else stranger(noise))
            student.append(CEILING if kept and noise.random() < stays else stranger(noise))
        found = reduction([student], [reference], SPACE)
        if found is not None:
            asked += 1
            covered += found.low <= true <= found.high
    assert asked > 0.9 * runs
    assert covered >= asked * 0.95 - 3 * (asked * 0.95 * 0.05) ** 0.5


@pytest.mark.parametrize(("hits", "count"), [(0, 8), (2, 8), (8, 8), (31, 32), (1, 500)])
def test_the_lower_bound_of_a_share_is_a_quantile_of_a_beta(hits: int, count: int) -> None:
    wanted = stats.beta.ppf(0.05, hits, count - hits + 1) if hits else 0.0
    assert at_least(hits, count) == pytest.approx(wanted, abs=1e-10)


@pytest.mark.parametrize(
    ("hits", "count", "epsilon"), [(32, 32, 11.5), (8, 8, 10.0), (2, 8, 6.2), (0, 8, 0.0)]
)
def test_epsilon_at_rank_one_of_ten_thousand(hits: int, count: int, epsilon: float) -> None:
    ranks = [1] * hits + [5000] * (count - hits)
    assert epsilon_bound(ranks, SPACE, thresholds=(1,)) == pytest.approx(epsilon, abs=0.04)


def test_looking_at_three_thresholds_costs_a_third_of_a_nat() -> None:
    one, three = (epsilon_bound([1] * 32, SPACE, thresholds=grid) for grid in ((1,), (1, 10, 100)))
    share = (0.05 / 3) ** (1 / 32)
    assert three == pytest.approx(log(share / (1 - share) * 9999), abs=1e-9)
    assert 0.3 < one - three < 0.4


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
    noise, runs = dice("response", epsilon), 200
    keep = exp(epsilon) / (exp(epsilon) + SPACE - 1)
    over = 0
    for _ in range(runs):
        ranks = [1 if noise.random() < keep else noise.randrange(2, SPACE + 1) for _ in range(32)]
        over += epsilon_bound(ranks, SPACE) > epsilon
    assert over <= runs * 0.05 + 3 * (runs * 0.05 * 0.95) ** 0.5


@pytest.mark.parametrize(
    ("ranks", "copies", "of"), [([], 1, 100), ([0], 1, 100), ([101], 1, 100), ([1], 0, 100)]
)
def test_no_epsilon_without_ranks_and_copies(ranks: list[int], copies: int, of: int) -> None:
    with pytest.raises(ValueError):
        epsilon_bound(ranks, of, copies)


def test_a_fair_coin_is_found_in_two_tries_three_times_of_four() -> None:
    assert tries(log(0.5), 0.75) == 2
    assert tries(log(0.5), 0.7501) == 3
    assert tries(log(0.3), 1 - 0.7**5) == 5  # rounding must not ask for a sixth
    assert tries(0.0, 0.999) == 1


@given(st.floats(-25, -1e-6), st.floats(0.01, 0.99))
def test_tries_are_the_fewest_that_suffice(log_p: float, p: float) -> None:
    n, miss = tries(log_p, p), log1p(-exp(log_p))
    assert -expm1(n * miss) >= p * (1 - 1e-9)
    assert n == 1 or -expm1((n - 1) * miss) < p


def test_tries_beyond_counting_still_grow_as_the_inverse_probability() -> None:
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


def test_what_a_student_memorised_is_told_by_where_it_comes_from() -> None:
    teacher = [True, True, True, True, False, False]
    control = [True, True, False, False, True, False]
    student = [True, False, True, False, False, True]
    assert dynamics(teacher, control, student) == Dynamics(
        teacher=(4, 6), control=(3, 6), student=(3, 6), inherited=(1, 2), easy=(1, 3)
    )


def test_where_nothing_was_memorised_shares_have_no_count() -> None:
    found = dynamics([False], [False], [False])
    assert (found.inherited, found.easy) == ((0, 0), (0, 0))


def test_three_networks_must_be_asked_the_same() -> None:
    with pytest.raises(ValueError):
        dynamics([True], [True], [True, False])


def test_folding_needs_neither_torch_nor_numpy() -> None:
    code = (
        "import sys; import robustbench_kd.ops.privacy.exposure as _; "
        "import robustbench_kd.ops.statistics.roc as _; "
        "print({'torch', 'numpy', 'scipy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
