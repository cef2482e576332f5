"""Which places a row may take: paired tests between all rows of a board, thousands if need be.

The difference of two rows in examples won is known from their counts; so is, for each difference,
the largest number of discordant pairs that still tells them apart. Most pairs are then decided
without looking at their bits, and the others by one exclusive or.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from functools import lru_cache

from robustbench_kd.ops.statistics.bitset import number_of
from robustbench_kd.ops.statistics.paired_tests import mcnemar_two_sided
from robustbench_kd.results.record import Json

LEVEL = 0.05  # of the paired test that tells two rows apart


def standing(worst: Sequence[Json]) -> list[tuple[int, int]]:
    """The best and the last place of each row, from 1 on.

    A row stands behind all that beat it and before all that it beats, by McNemar's exact test.

    Args:
        worst: what each row's record says of its worst case, on the same examples, most hits first.
    """
    flags = [number_of(one["bits"], one["count"]) for one in worst]
    lost = [-one["hits"] for one in worst]
    better, worse = [0] * len(flags), [0] * len(flags)
    if not flags:
        return []
    count = worst[0]["count"]
    differences = range(1, count + 1)
    tellable = 1 + bisect_left(differences, True, key=lambda d: told_apart(d, d))
    clear = 1 + bisect_left(differences, True, key=lambda d: told_apart(d, count))
    beaten = [0] * (len(flags) + 1)  # rows from here on are beaten by one more
    for row, mine in enumerate(flags):
        far = bisect_left(lost, lost[row] + clear)
        worse[row] += len(flags) - far
        beaten[far] += 1
        for other in range(bisect_left(lost, lost[row] + tellable), far):
            if (mine ^ flags[other]).bit_count() <= farthest(lost[other] - lost[row], count):
                worse[row] += 1
                better[other] += 1
    places, before = [], 0
    for row in range(len(flags)):
        before += beaten[row]
        places.append((1 + before + better[row], len(flags) - worse[row]))
    return places


def told_apart(difference: int, pairs: int) -> bool:
    """Whether so large a difference, of so many discordant pairs (or one less), is no chance."""
    lost = (pairs - difference) // 2
    return mcnemar_two_sided(difference + lost, lost) <= LEVEL


@lru_cache(maxsize=8192)
def farthest(difference: int, count: int) -> int:
    """The most discordant pairs, of ``count``, at which so large a difference is no chance.

    Chance makes a difference likelier the more pairs are discordant, so a bisection finds it, near
    where a normal variable would be; zero where not even the fewest possible pairs would do.
    """
    guess = int((difference - 1) ** 2 / 3.84)  # 1.96 squared, with the correction of continuity
    pairs = range(difference, count + 1, 2)
    low = bisect_left(pairs, guess - 8)
    high = min(bisect_left(pairs, guess + 8), len(pairs))
    if low and not told_apart(difference, pairs[low - 1]):
        low = 0
    if high < len(pairs) and told_apart(difference, pairs[high]):
        high = len(pairs)
    found = bisect_left(pairs, True, low, high, key=lambda m: not told_apart(difference, m))
    return pairs[found - 1] if found else 0
