"""The gate's verdicts: from counts and losses, and on simulated bits and numbers."""

from __future__ import annotations

from collections import Counter
from functools import cache
from itertools import pairwise

import numpy as np
import pytest

from robustbench_kd.core.errors import BadSetting
from robustbench_kd.ops.statistics.multiple_testing import holm
from robustbench_kd.ops.statistics.paired_means import mean_loss_p, paired_interval
from robustbench_kd.ops.statistics.paired_tests import mcnemar_exact, mcnemar_midp, tango
from robustbench_kd.ops.statistics.power import detectable, examples_needed, power
from robustbench_kd.regression.decision import MEANS, Rules, Verdict
from robustbench_kd.regression.endpoints import Endpoint
from robustbench_kd.regression.gate import decide
from robustbench_kd.regression.paired_comparison import compare_bits, compare_numbers
from robustbench_kd.regression.pairing import EndpointPair
from robustbench_kd.results.record import Bits, Column

RULES = Rules()


def test_the_number_of_examples_needed_is_given_only_where_there_are_too_few() -> None:
    assert compare_bits(10, 10, 1000, 0.02, RULES).enough is None
    few = compare_bits(2, 2, 200, 0.02, RULES)
    assert few.enough == examples_needed(0.02, 0.01)
    assert few.enough > 200
    assert compare_bits(2, 2, 200, 0.02, RULES, tests=48).enough > few.enough  # type: ignore[operator]
    assert compare_bits(2, 2, 200, 0.0, RULES).enough is None  # no number shows a drop of nothing
    with pytest.raises(ValueError, match="no number of examples"):
        examples_needed(0, 0.1)


def test_where_no_drop_can_be_shown_there_is_no_smallest_one() -> None:
    assert detectable(3, 0) is None
    assert detectable(1000, 0.5) is None
    assert compare_bits(1, 1, 3, 0.02, RULES).detectable is None


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
    result = compare_bits(lost, won, count, 0.02, RULES)
    assert result.verdict == verdict
    assert result.verdict in MEANS
    assert (result.low, result.high) == tango(lost, won, count)
    assert (result.least, result.most) == tango(lost, won, count, 0.9)
    assert result.low <= result.least <= result.drop <= result.most <= result.high


def test_the_exact_test_and_the_strict_margin_ask_for_more() -> None:
    assert compare_bits(4, 0, 100, 0.02, Rules(test="exact")).verdict == "inconclusive"
    assert compare_bits(5, 0, 150, 0.02, Rules(test="exact")).verdict == "regressed"
    assert compare_bits(4, 0, 150, 0.02, RULES).verdict == "regressed"
    assert compare_bits(5, 0, 100, 0.02, Rules(test="exact")).p == mcnemar_exact(5, 0)
    assert compare_bits(28, 14, 1000, 0.02, Rules(strict=True)).verdict == "inconclusive"
    assert compare_bits(60, 10, 1000, 0.02, Rules(strict=True)).verdict == "regressed-severe"
    assert compare_bits(28, 14, 1000, 0.0, RULES).verdict == "regressed-severe"


def evenly(mean: float, spread: float, count: int) -> tuple[float, ...]:
    """Losses of this mean that are spread evenly to both sides."""
    return tuple(mean + spread * (2 * (n + 0.5) / count - 1) for n in range(count))


NUMBERS: list[tuple[tuple[float, ...], Verdict]] = [
    ((0.0,) * 63, "ok"),
    (evenly(0.0, 1.0, 63), "ok"),
    (evenly(0.3, 0.2, 63), "changed"),  # half a bit is tolerated
    (evenly(0.5, 1.0, 63), "regressed"),
    (evenly(2.0, 2.0, 63), "regressed-severe"),
    (evenly(-1.0, 1.0, 63), "improved"),
    (evenly(0.3, 4.0, 63), "inconclusive"),
    ((4.0,) * 3, "inconclusive"),  # three samples show nothing
]


@pytest.mark.parametrize(("losses", "verdict"), NUMBERS)
def test_each_verdict_follows_from_the_losses(losses: tuple[float, ...], verdict: Verdict) -> None:
    result = compare_numbers(losses, 0.5, RULES)
    assert result.verdict == verdict
    assert result.drop == pytest.approx(sum(losses) / len(losses))
    assert (result.low, result.high) == paired_interval(losses)
    assert (result.least, result.most) == paired_interval(losses, 0.9)
    assert result.low <= result.least <= result.drop + 1e-9
    assert result.drop - 1e-9 <= result.most <= result.high
    assert result.p == mean_loss_p(losses)
    mirrored = compare_numbers(tuple(-loss for loss in losses), 0.5, RULES)
    assert (mirrored.p, mirrored.gain) == (result.gain, result.p)
    assert (mirrored.lost, mirrored.won) == (result.won, result.lost)


def test_numbers_are_judged_by_p_values_that_were_adjusted_and_by_a_strict_margin() -> None:
    losses = evenly(0.5, 1.0, 63)
    assert compare_numbers(losses, 0.5, RULES, p=0.2).verdict == "inconclusive"
    assert compare_numbers(losses, 0.5, Rules(strict=True)).verdict == "inconclusive"
    assert compare_numbers(losses, 0.0, RULES).verdict == "regressed-severe"


def test_the_number_of_samples_needed_is_given_only_where_there_are_too_few() -> None:
    few = compare_numbers(evenly(0.0, 4.0, 63), 0.5, RULES)
    assert few.detectable is not None
    assert few.detectable > 0.5
    assert few.enough is not None
    assert few.enough == pytest.approx(63 * (few.detectable / 0.5) ** 2, rel=0.05)
    assert compare_numbers(evenly(0.0, 0.5, 63), 0.5, RULES).enough is None
    hardest = compare_numbers(evenly(0.0, 4.0, 63), 0.5, RULES, tests=48)
    assert hardest.detectable is not None
    assert hardest.detectable > few.detectable
    assert compare_numbers(evenly(0.0, 4.0, 63), 0.5, RULES, tests=None).detectable is None


def endpoint(values: Column, unit: str = "percent", margin: float = 2.0) -> Endpoint:
    return Endpoint("primary", "a-metric:setting=1", "s", values, unit, unit == "percent", margin)


def test_a_margin_is_that_of_the_metric_its_own_or_that_of_all_primary_endpoints() -> None:
    bits, numbers = endpoint(Bits.of([True])), endpoint((1.0,), "bits", 0.5)
    assert (RULES.margin_of(bits), RULES.margin_of(numbers)) == (0.02, 0.5)
    assert Rules(margin=3).margin_of(bits) == 0.03
    assert Rules(margin=3).margin_of(numbers) == 3
    given = Rules(margin=3, margins={"a-metric": 1.5})
    assert (given.margin_of(bits), given.margin_of(numbers)) == (0.015, 1.5)
    utility = Endpoint("utility", "clean-accuracy", "s", Bits.of([True]), "percent", True, 1.0)
    assert given.margin_of(utility) == 0.01


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ({"alpha": 0}, "between 0 and one half"),
        ({"alpha": 0.5}, "between 0 and one half"),
        ({"margin": -0.1}, "a margin is a number of at least 0"),
        ({"margin": float("inf")}, "a margin is a number of at least 0"),
        ({"margins": {"exposure": -1}}, "a margin is a number of at least 0"),
        ({"test": "chi"}, "must be one of midp, exact"),
    ],
)
def test_impossible_rules_are_refused(rules: dict[str, float], words: str) -> None:
    with pytest.raises(BadSetting, match=words):
        Rules(**rules)  # type: ignore[arg-type]


midp = cache(mcnemar_midp)


@cache
def verdict_on(lost: int, won: int, count: int) -> Verdict:
    return compare_bits(lost, won, count, 0.02, RULES, tests=None).verdict


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
    """Margin 2 points, alpha 0.05, one in a hundred changes each way by chance."""
    draw, churn, runs = np.random.default_rng(1), 0.01, 1500 if count < 5000 else 400
    tables = draw.multinomial(count, [churn + drop, churn, 1 - 2 * churn - drop], size=runs)
    verdicts = Counter[str](verdict_on(int(b), int(c), count) for b, c, _ in tables)
    shares = {name: n / runs for name, n in verdicts.items()}
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


def test_the_gate_tests_stored_bits_and_numbers_together_by_holms_values() -> None:
    rng = np.random.default_rng(4)
    old, new = lost_and_won(rng, (48, 256), 0.02)
    new[0] = old[0] & (np.arange(256) > 60)  # a real loss among 47 equal pairs
    suite = [
        EndpointPair(
            str(n), "previous", "primary", "robust", endpoint(Bits.of(a)), endpoint(Bits.of(b))
        )
        for n, (a, b) in enumerate(zip(old.tolist(), new.tolist(), strict=True))
    ]
    exposures = rng.exponential(1.44, size=(2, 63))
    before, after = (endpoint(tuple(row), "bits") for row in exposures.tolist())
    suite.append(EndpointPair("text", "previous", "primary", "exposure", before, after))
    results = [finding.numbers for finding in decide(suite, Rules(margin=0))]
    values = [midp(n.lost, n.won) for n in results[:-1] if n]
    values.append(mean_loss_p(tuple((exposures[1] - exposures[0]).tolist())))
    assert [n.p for n in results if n] == pytest.approx(holm(values))
    assert sum(value <= 0.05 for value in values) > 1
    assert [n.verdict for n in results if n and n.p <= 0.05] == ["regressed-severe"]


def test_a_suite_of_24_equal_language_models_raises_a_false_alarm_in_at_most_one_of_20_runs() -> (
    None
):
    rng, runs, alarms = np.random.default_rng(5), 150, 0
    for _ in range(runs):
        exposures = np.minimum(rng.exponential(2.0, size=(2, 24, 63)), 13.3)
        losses = (exposures[1] - exposures[0]).tolist()
        alarms += min(holm([mean_loss_p(tuple(row)) for row in losses])) <= 0.05
    assert alarms / runs <= 0.05 + 2 * (0.05 * 0.95 / runs) ** 0.5


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
    """The power to show a drop without attacking again what differs, and with.

    Simulated bits: 1,000 examples of which 60 in 100 withstand anything, and an attack that misses
    3 in 100; three fresh seeds attack either side where both differ. 2,000 runs.
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
