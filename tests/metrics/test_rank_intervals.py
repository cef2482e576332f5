"""Rank intervals: which ranks paired tests between all rows leave to each."""

from __future__ import annotations

import itertools
import random

import pytest

from robustbench_kd.metrics._rank_intervals import (
    most_discordant,
    rank_intervals,
    sign_flip_p,
    signed_sums,
)
from robustbench_kd.ops.statistics.bitset import discordant
from robustbench_kd.ops.statistics.paired_tests import mcnemar_two_sided
from robustbench_kd.results.record import Bits


def columns_of_bits(count: int, rows: int) -> list[Bits]:
    noise = random.Random(0)
    shares = [noise.choice((0.3, 0.5, 0.52, 0.55, 0.9)) for _ in range(rows)]
    return [Bits.of([noise.random() < share for _ in range(count)]) for share in shares]


@pytest.mark.parametrize("higher_is_better", [True, False])
def test_ranks_are_those_of_testing_every_pair_in_whatever_order(higher_is_better: bool) -> None:
    """The short way knows most pairs from their counts; the long way compares all bits of all."""
    columns = columns_of_bits(300, 60)
    expected = []
    for own in columns:
        better = worse = 0
        for other in columns:
            lost, won = discordant(own.flags, other.flags)
            if mcnemar_two_sided(lost, won) <= 0.05:
                above = won > lost if higher_is_better else won < lost
                better, worse = better + above, worse + (not above)
        expected.append((1 + better, len(columns) - worse))
    assert rank_intervals(columns, higher_is_better) == expected
    assert len(set(expected)) > 5


@pytest.mark.parametrize("count", [5, 6, 40, 333])
def test_the_limit_of_discordant_pairs_is_where_the_test_turns(count: int) -> None:
    for lead in range(1, count + 1):
        significant = [
            pairs
            for pairs in range(lead, count + 1, 2)
            if mcnemar_two_sided((pairs + lead) // 2, (pairs - lead) // 2) <= 0.05
        ]
        assert most_discordant(lead, count) == max(significant, default=0)


def test_rows_that_no_test_separates_share_their_ranks() -> None:
    strong, weak = Bits.of([True] * 50), Bits.of([False] * 50)
    assert rank_intervals([strong, strong, weak]) == [(1, 2), (1, 2), (3, 3)]
    assert rank_intervals([strong, strong, weak], higher_is_better=False) == [
        (2, 3),
        (2, 3),
        (1, 1),
    ]
    numbers = [(2.0,) * 50, (2.0,) * 50, (1.0,) * 50]
    assert rank_intervals(numbers) == [(1, 2), (1, 2), (3, 3)]
    assert rank_intervals(numbers, higher_is_better=False) == [(2, 3), (2, 3), (1, 1)]


def test_rows_of_other_samples_or_of_none_are_not_compared() -> None:
    many, few = Bits.of([True] * 50), Bits.of([False] * 49)
    zeros = (0.0,) * 50
    assert rank_intervals([many, few, zeros, None]) == [(1, 4)] * 4
    assert rank_intervals([many, Bits.of([False] * 50), None]) == [(1, 2), (2, 3), (1, 3)]
    assert rank_intervals([]) == []


def test_noise_that_both_rows_share_cancels_from_means_of_numbers() -> None:
    noise = random.Random(1)
    shared = [noise.gauss(0, 10) for _ in range(100)]
    low = tuple(shared)
    high = tuple(value + noise.uniform(0, 0.5) for value in shared)
    apart = tuple(value + 0.25 for value in reversed(shared))
    assert rank_intervals([high, low]) == [(1, 1), (2, 2)]
    assert rank_intervals([apart, low]) == [(1, 2), (1, 2)]


def test_the_p_value_is_that_of_all_sign_flips_up_to_its_draws() -> None:
    own, other = (3.0, 1.0, 4.0, 1.0, 5.0, 9.0, 2.0, 6.0), (2.0, 7.0, 1.0, 8.0, 2.0, 8.0, 1.0, 8.0)
    differences = [a - b for a, b in zip(own, other, strict=True)]
    flips = list(itertools.product((1, -1), repeat=len(differences)))
    sums = [sum(s * d for s, d in zip(signs, differences, strict=True)) for signs in flips]
    exact = sum(abs(value) >= abs(sum(differences)) for value in sums) / len(flips)
    assert 0.1 < exact < 0.9
    assert sign_flip_p(signed_sums(own), signed_sums(other)) == pytest.approx(exact, abs=0.04)


def test_five_samples_are_too_few_to_separate_rows_and_six_are_not() -> None:
    """Two of 32 sign flips are as extreme as five equal differences; two of 64 as six."""
    for count, ranks in ((5, [(1, 2), (1, 2)]), (6, [(1, 1), (2, 2)])):
        assert rank_intervals([(1.0,) * count, (0.0,) * count]) == ranks
        bits = [Bits.of([True] * count), Bits.of([False] * count)]
        assert rank_intervals(bits) == ranks
