"""Which ranks a row may take: paired tests between all rows of a table, thousands if need be.

Shares are compared by McNemar's exact test. The difference of two rows in ones is known from their
counts; so is, for each difference, the largest number of discordant pairs that still shows it. Most
pairs are then decided without looking at their bits, and the others by one exclusive or.

Means of numbers are compared by the sign-flip test of paired differences (Fisher 1935), under the
same draws for all rows, so that each row's signed sums are computed once.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import compress
from math import fsum
from random import Random

from robustbench_kd.core.seed import Seed
from robustbench_kd.ops.statistics.paired_tests import mcnemar_two_sided
from robustbench_kd.results.record import Bits, Column, Numbers

LEVEL = 0.05  # of the two-sided paired test that separates two rows
SIGN_FLIPS = 1999


@dataclass
class Wins:
    """How many other rows beat a row, and how many it beats, each beyond chance."""

    beaten_by: int = 0
    beats: int = 0


def rank_intervals(
    columns: Sequence[Column | None], higher_is_better: bool = True
) -> list[tuple[int, int]]:
    """The best and the last rank of each row, from 1 on, in the order given.

    A row stands behind all that beat it and before all that it beats. Rows without samples, or with
    another number of samples than others, are not compared with those.

    Args:
        columns: a value a sample for each row, the same samples in all.
        higher_is_better: whether more ones, or a higher mean, win.
    """
    wins = [Wins() for _ in columns]
    alike: dict[tuple[bool, int], list[int]] = {}
    for row, column in enumerate(columns):
        if column is not None:
            length = column.count if isinstance(column, Bits) else len(column)
            alike.setdefault((isinstance(column, Bits), length), []).append(row)
    for rows in alike.values():
        samples = [columns[row] for row in rows]
        bits = [column for column in samples if isinstance(column, Bits)]
        numbers = [column for column in samples if isinstance(column, tuple)]
        counted = _bit_wins(bits, higher_is_better) if bits else _wins(numbers, higher_is_better)
        for row, count in zip(rows, counted, strict=True):
            wins[row] = count
    return [(1 + row.beaten_by, len(columns) - row.beats) for row in wins]


def _bit_wins(columns: Sequence[Bits], higher_is_better: bool) -> list[Wins]:
    """Wins between columns of bits, of one length."""
    sign = -1 if higher_is_better else 1
    scores = [sign * column.number.bit_count() for column in columns]
    order = sorted(range(len(columns)), key=lambda row: scores[row])
    bits = [columns[row].number for row in order]
    behind = [scores[row] for row in order]  # ascending; a row's lead over later ones
    count = columns[0].count
    leads = range(1, count + 1)
    possible = 1 + bisect_left(leads, True, key=lambda lead: significant(lead, lead))
    certain = 1 + bisect_left(leads, True, key=lambda lead: significant(lead, count))
    wins = [Wins() for _ in order]
    surely_beaten = [0] * (len(order) + 1)  # rows from here on are beaten by so many more
    for row, own in enumerate(bits):
        far = bisect_left(behind, behind[row] + certain)
        wins[row].beats += len(bits) - far
        surely_beaten[far] += 1
        for other in range(bisect_left(behind, behind[row] + possible), far):
            lead = behind[other] - behind[row]
            if (own ^ bits[other]).bit_count() <= most_discordant(lead, count):
                wins[row].beats += 1
                wins[other].beaten_by += 1
    before = 0
    for row, win in enumerate(wins):
        before += surely_beaten[row]
        win.beaten_by += before
    by_row = dict(zip(order, wins, strict=True))
    return [by_row[row] for row in range(len(columns))]


def significant(lead: int, discordant: int) -> bool:
    """Whether so large a lead, of so many discordant pairs (or one less), is beyond chance."""
    lost = (discordant - lead) // 2
    return mcnemar_two_sided(lead + lost, lost) <= LEVEL


@lru_cache(maxsize=8192)
def most_discordant(lead: int, count: int) -> int:
    """The most discordant pairs, of ``count``, at which so large a lead is beyond chance.

    Chance makes a lead likelier the more pairs are discordant, so a bisection finds it, near where
    a normal variable would be; zero where not even the fewest possible pairs would do.
    """
    guess = int((lead - 1) ** 2 / 3.84)  # 1.96 squared, with the correction of continuity
    pairs = range(lead, count + 1, 2)
    low = bisect_left(pairs, guess - 8)
    high = min(bisect_left(pairs, guess + 8), len(pairs))
    if low and not significant(lead, pairs[low - 1]):
        low = 0
    if high < len(pairs) and significant(lead, pairs[high]):
        high = len(pairs)
    end = bisect_left(pairs, True, low, high, key=lambda total: not significant(lead, total))
    return pairs[end - 1] if end else 0


def _wins(columns: Sequence[Numbers], higher_is_better: bool) -> list[Wins]:
    """Wins between columns of numbers, of one length."""
    sums = [signed_sums(column) for column in columns]
    wins = [Wins() for _ in columns]
    for row, own in enumerate(sums):
        for other in range(row):
            lead = own[0] - sums[other][0]
            if sign_flip_p(own, sums[other]) <= LEVEL:
                better, worse = (row, other) if (lead > 0) == higher_is_better else (other, row)
                wins[better].beats += 1
                wins[worse].beaten_by += 1
    return wins


def signed_sums(column: Numbers) -> list[float]:
    """The sum of the numbers, and their sums under each draw of signs.

    Paired differences of two columns have the difference of these sums.
    """
    total = fsum(column)
    return [total, *(2 * sum(compress(column, signs)) - total for signs in _signs(len(column)))]


def sign_flip_p(own: Sequence[float], other: Sequence[float]) -> float:
    """Two-sided p-value that paired differences have mean zero, from ``signed_sums``.

    Under the hypothesis each difference is as likely as its negative.
    """
    slack = 1e-9 * max(map(abs, (*own, *other)), default=0.0)
    lead = abs(own[0] - other[0]) - slack
    as_large = sum(abs(a - b) >= lead for a, b in zip(own[1:], other[1:], strict=True))
    return (1 + as_large) / (len(own))


@lru_cache(maxsize=16)
def _signs(count: int) -> tuple[bytes, ...]:
    """``SIGN_FLIPS`` draws of a fair coin for each sample; always the same."""
    dice = Random((Seed() / "sign flips" / count).number())
    draws = (f"{dice.getrandbits(count):0{count}b}" for _ in range(SIGN_FLIPS))
    return tuple(bytes(map(int, draw)) for draw in draws)
