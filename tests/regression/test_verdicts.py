"""The gate's statistics: against scipy, against the published sizes, and on simulated bits."""

from __future__ import annotations

from collections import Counter
from functools import cache
from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, multinomial

from robustbench_kd.core.errors import BadSetting
from robustbench_kd.ops.statistics.bitset import pack, unpack
from robustbench_kd.ops.statistics.multiple_testing import holm
from robustbench_kd.ops.statistics.paired_tests import mcnemar_exact, mcnemar_midp, tango
from robustbench_kd.ops.statistics.power import POWER, critical, detectable, enough, power
from robustbench_kd.regression.decision import MEANS, Rules, Verdict, weigh
from robustbench_kd.regression.endpoints import Sides
from robustbench_kd.regression.gate import judged

RULES = Rules()
counts = st.integers(0, 400)


@given(counts, counts)
def test_the_midp_value_is_scipys_tail_less_half_of_what_was_seen(lost: int, won: int) -> None:
    n = lost + won
    wanted = binom.sf(lost, n, 0.5) + binom.pmf(lost, n, 0.5) / 2
    assert mcnemar_midp(lost, won) == pytest.approx(wanted, rel=1e-9, abs=1e-300)
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
        found = detectable(count, churn, alpha, "exact")
        assert found is not None
        assert 100 * found == pytest.approx(drop, abs=0.06)
        assert power(count, found, churn, alpha, "exact") >= POWER
        mid = detectable(count, churn, alpha)
        assert mid is not None
        assert mid < found


@pytest.mark.parametrize(
    ("drop", "churn"), [(0.02, 0.01), (0.02, 0.05), (0.01, 0.01), (0.05, 0.02), (0.3, 0.1)]
)
def test_so_many_examples_show_a_drop_and_a_fifth_fewer_do_not(drop: float, churn: float) -> None:
    found = enough(drop, churn)
    assert power(found, drop, churn) == pytest.approx(POWER, abs=0.05)
    assert power(int(0.8 * found), drop, churn) < POWER - 0.02
    assert enough(drop, churn, 0.01) > found


def test_how_many_examples_are_wanted_is_told_only_where_there_are_too_few() -> None:
    assert weigh(10, 10, 1000, 0.02, RULES).enough is None
    few = weigh(2, 2, 200, 0.02, RULES)
    assert few.enough == enough(0.02, 0.01)
    assert few.enough > 200  # type: ignore[operator]
    assert weigh(2, 2, 200, 0.02, RULES, tests=48).enough > few.enough  # type: ignore[operator]
    assert weigh(2, 2, 200, 0.0, RULES).enough is None  # no number shows a drop of nothing
    with pytest.raises(ValueError, match="no number of examples"):
        enough(0, 0.1)


def test_where_no_drop_can_be_shown_there_is_no_smallest_one() -> None:
    assert detectable(3, 0) is None
    assert detectable(1000, 0.5) is None
    assert weigh(1, 1, 3, 0.02, RULES).detectable is None


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
        wanted = max(min(1.0, len(s) * min(values[i] for i in s)) for s in sets if n in s)
        assert adjusted == pytest.approx(wanted)


def test_holms_values_have_the_known_values() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []


TABLE: list[tuple[int, int, int, Verdict]] = [
    (0, 0, 1000, "ok"),
    (12, 10, 1000, "ok"),
    (4, 0, 1000, "changed"),  # the least that shows, and far within two points
    (3, 0, 1000, "ok"),
    (28, 14, 1000, "regressed"),
    (60, 10, 1000, "regressed-severe"),
    (0, 4, 1000, "improved"),
    (10, 60, 1000, "improved"),
    (0, 0, 100, "inconclusive"),  # a hundred cannot show that two points were not lost
    (17, 13, 500, "inconclusive"),
]


@pytest.mark.parametrize(("lost", "won", "count", "verdict"), TABLE)
def test_each_verdict_follows_from_the_counts(
    lost: int, won: int, count: int, verdict: Verdict
) -> None:
    found = weigh(lost, won, count, 0.02, RULES)
    assert found.verdict == verdict
    assert found.verdict in MEANS
    assert (found.low, found.high) == tango(lost, won, count)
    assert (found.least, found.most) == tango(lost, won, count, 0.9)
    assert found.low <= found.least <= found.drop <= found.most <= found.high


def test_the_exact_test_and_the_strict_margin_ask_for_more() -> None:
    assert weigh(4, 0, 100, 0.02, Rules(test="exact")).verdict == "inconclusive"
    assert weigh(5, 0, 150, 0.02, Rules(test="exact")).verdict == "regressed"
    assert weigh(4, 0, 150, 0.02, RULES).verdict == "regressed"
    assert weigh(5, 0, 100, 0.02, Rules(test="exact")).p == mcnemar_exact(5, 0)
    assert weigh(28, 14, 1000, 0.02, Rules(strict=True)).verdict == "inconclusive"
    assert weigh(60, 10, 1000, 0.02, Rules(strict=True)).verdict == "regressed-severe"
    assert weigh(28, 14, 1000, 0.0, RULES).verdict == "regressed-severe"


@pytest.mark.parametrize(
    ("given_", "words"),
    [
        ({"alpha": 0}, "between 0 and one half"),
        ({"alpha": 0.5}, "between 0 and one half"),
        ({"margin": -0.1}, "a share of at least 0"),
        ({"clean": 2}, "0.02 is two points"),
        ({"test": "chi"}, "must be one of midp, exact"),
    ],
)
def test_impossible_rules_are_refused(given_: dict[str, float], words: str) -> None:
    with pytest.raises(BadSetting, match=words):
        Rules(**given_)  # type: ignore[arg-type]


midp = cache(mcnemar_midp)


@cache
def word(lost: int, won: int, count: int) -> Verdict:
    return weigh(lost, won, count, 0.02, RULES, tests=None).verdict


@pytest.mark.parametrize(
    ("count", "drop", "expected"),
    [
        (1000, 0.00, {"ok": 0.95, "fail": 0.009}),
        (1000, 0.02, {"fail": 0.95}),
        (1000, 0.04, {"fail": 1.00}),
        (1000, 0.01, {"fail": 0.46}),
        (256, 0.00, {"ok": 0.63, "inconclusive": 0.34, "fail": 0.03}),
        (256, 0.04, {"fail": 0.87}),
        (5000, 0.01, {"changed": 0.99, "fail": 0.009}),
    ],
)
def test_simulated_networks_get_the_verdicts_that_were_computed(
    count: int, drop: float, expected: dict[str, float]
) -> None:
    """Margin 2 points, alpha 0.05, one in a hundred changes each way for no reason."""
    draw, churn, runs = np.random.default_rng(1), 0.01, 1500 if count < 5000 else 400
    tables = draw.multinomial(count, [churn + drop, churn, 1 - 2 * churn - drop], size=runs)
    found = Counter(word(int(b), int(c), count) for b, c, _ in tables)
    shares = {name: n / runs for name, n in found.items()}
    shares["ok"] = shares.get("ok", 0) + shares.get("improved", 0)
    shares["fail"] = shares.get("regressed", 0) + shares.get("regressed-severe", 0)
    for name, share in expected.items():
        assert shares[name] == pytest.approx(share, abs=0.04)


def lost_and_won(
    draw: np.random.Generator, shape: tuple[int, ...], churn: float
) -> tuple[np.ndarray, np.ndarray]:
    """Bits of equal networks of which this share changes each way; 60 in 100 are robust."""
    old, u = draw.random(shape, np.float32) < 0.6, draw.random(shape, np.float32)
    return old, np.where(old, u > churn / 0.6, u < churn / 0.4)


def test_a_suite_of_48_equal_cells_raises_a_false_alarm_in_at_most_one_of_twenty_runs() -> None:
    draw, runs, cells, count, churn = np.random.default_rng(2), 1500, 48, 256, 0.02
    alarms = alone = 0
    for _ in range(runs):
        old, new = lost_and_won(draw, (cells, count), churn)
        lost, won = (old & ~new).sum(1), (new & ~old).sum(1)
        values = [midp(int(b), int(c)) for b, c in zip(lost, won, strict=True)]
        alarms += min(holm(values)) <= 0.05
        alone += min(values) <= 0.05
    assert alarms / runs <= 0.05
    assert alone / runs >= 0.8  # what the correction is for
    assert cells * power(count, 0, churn, 0.05 / cells) <= 0.05  # and whatever was drawn


def test_the_gate_judges_stored_bits_by_holms_values() -> None:
    old, new = lost_and_won(np.random.default_rng(4), (48, 256), 0.02)
    new[0] = old[0] & (np.arange(256) > 60)  # one real loss among 47 equal pairs
    packed = [[unpack(pack(row.tolist()), 256) for row in side] for side in (old, new)]
    suite = [
        Sides(str(n), "previous", "robust", "robust", a, b, 0.0)
        for n, (a, b) in enumerate(zip(*packed, strict=True))
    ]
    found = [one.numbers for one in judged(suite, Rules(margin=0))]
    values = [midp(n.lost, n.won) for n in found if n]
    assert [n.p for n in found if n] == pytest.approx(holm(values))
    assert sum(value <= 0.05 for value in values) > 1
    assert [n.verdict for n in found if n and n.p <= 0.05] == ["regressed-severe"]


def test_slow_drift_is_seen_from_the_anchor_and_seldom_from_one_step_to_the_next() -> None:
    """Twelve steps of 0.4 points each; alpha 0.01, 1,000 examples, 1 % change each way by luck."""
    draw, runs, steps = np.random.default_rng(3), 400, 12
    seen = Counter[str]()
    for _ in range(runs):
        strength, luck = draw.random(1000), draw.random((steps + 1, 1000))
        history = []
        for step in range(steps + 1):
            robust = strength < 0.6 - 0.004 * step
            history.append(np.where(robust, luck[step] > 0.005 / 0.6, luck[step] < 0.005 / 0.4))
        seen["steps"] += any(shown(a, b) for a, b in pairwise(history))
        seen["anchor"] += shown(history[0], history[-1])
    assert seen["anchor"] / runs > 0.95
    assert seen["steps"] / runs < 0.7


def shown(old: np.ndarray, new: np.ndarray) -> bool:
    return midp(int((old & ~new).sum()), int((new & ~old).sum())) <= 0.01


def confirmed(drop: float, churn: float) -> tuple[float, float]:
    """How often a drop is shown without asking again what differs, and with.

    Simulated bits: 1,000 examples of which 60 in 100 withstand anything, and an attack that misses
    3 in 100; it is tried anew by three seeds on either side where both differ. 2,000 runs.
    """
    draw, runs, count, miss = np.random.default_rng(6), 2000, 1000, 0.03
    old = draw.random((runs, count)) < 0.6
    u = draw.random((runs, count))
    new = np.where(old, u > (churn + drop) / 0.6, u < churn / 0.4)
    seen = [truth | (draw.random(truth.shape) < miss) for truth in (old, new)]
    lost, won = seen[0] & ~seen[1], seen[1] & ~seen[0]
    still = [truth | (draw.random(truth.shape) < miss**3) for truth in (old, new)]
    shares = []
    for pairs in ((lost, won), (lost & still[0], won & still[1])):
        tables = zip(*(side.sum(1).tolist() for side in pairs), strict=True)
        shares.append(sum(midp(b, c) <= 0.05 for b, c in tables) / runs)
    return shares[0], shares[1]


def test_confirming_what_differs_keeps_the_level() -> None:
    luck = 0.4 * 0.03 * 0.97  # what an attack misses on one side only
    exact = power(1000, 0, luck), power(1000, 0, 0.01 + luck)
    assert max(exact) <= 0.0505
    error = 3 * (0.05 * 0.95 / 2000) ** 0.5
    once, again = confirmed(0.0, 0.0)  # the same network twice: all that differs was luck
    assert once == pytest.approx(exact[0], abs=error)
    assert again == 0
    once, again = confirmed(0.0, 0.01)
    assert once == pytest.approx(exact[1], abs=error)
    assert again == pytest.approx(power(1000, 0, 0.01), abs=error)


def test_confirming_what_differs_adds_power() -> None:
    once, again = confirmed(0.01, 0.0)
    assert once < 0.65
    assert again > 0.95
    once, again = confirmed(0.02, 0.01)
    assert again > once + 0.05
