"""The reduction of exposure from a reference to a student, and its interval."""

from __future__ import annotations

import pytest
from chance_exposures import MAXIMUM, SPACE, chance_exposure, partly_memorised, random_for

from robustbench_kd.ops.privacy.exposure import CHANCE, reduction


def test_three_quarters_of_the_excess_removed_is_a_reduction_of_three_quarters() -> None:
    share = reduction([[CHANCE + 1] * 16], [[CHANCE + 4] * 16], SPACE)
    assert share is not None
    assert share.value == pytest.approx(0.75)
    assert share.low < 0.75 < share.high
    assert share.count == 16


def test_seeds_are_pooled_pair_by_pair() -> None:
    random = random_for("pool")
    student = [chance_exposure(random) for _ in range(24)]
    reference = [partly_memorised(0.8)(random) for _ in range(24)]
    students, references = (
        [side[start : start + 8] for start in (0, 8, 16)] for side in (student, reference)
    )
    assert reduction(students, references, SPACE) == reduction([student], [reference], SPACE)


def test_the_order_of_canaries_does_not_matter() -> None:
    random = random_for("order")
    pairs = [(chance_exposure(random), partly_memorised(0.7)(random)) for _ in range(16)]
    first, second = (
        reduction([[a for a, _ in order]], [[b for _, b in order]], SPACE)
        for order in (pairs, pairs[5:] + pairs[:5])
    )
    assert first == second


def test_where_the_reference_memorised_nothing_there_is_no_reduction() -> None:
    random = random_for("nothing")
    reference = [chance_exposure(random) for _ in range(16)]
    assert reduction([[0.0] * 16], [reference], SPACE) is None


def test_where_the_reference_could_be_lucky_there_is_no_reduction() -> None:
    lucky = [0.2, 0.5, 1.0, 1.5, 2.0, 2.5, 4.0, 5.5]  # mean 2.15 bits, p = 0.09
    assert reduction([[1.0] * 8], [lucky], SPACE) is None
    assert reduction([[1.0] * 8], [[3 + bits for bits in lucky]], SPACE) is not None


def test_a_student_equal_to_its_reference_reduces_nothing() -> None:
    random = random_for("equal")
    bits = [partly_memorised(0.6)(random) for _ in range(32)]
    share = reduction([bits], [bits], SPACE)
    assert share is not None
    assert share.value == 0
    assert share.low < 0 < share.high


def test_pairing_by_canary_narrows_the_reduction() -> None:
    random = random_for("pairing")
    bits = sorted(partly_memorised(0.6)(random) for _ in range(32))
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
@pytest.mark.parametrize("remaining", [0.1, 0.5])
def test_the_interval_of_a_reduction_covers_it(count: int, runs: int, remaining: float) -> None:
    """The reference memorises six canaries of ten, and the student a share of these."""
    random = random_for("reduction", count, remaining)
    covered = defined = 0
    for _ in range(runs):
        student, reference = [], []
        for _ in range(count):
            memorised = random.random() < 0.6
            reference.append(MAXIMUM if memorised else chance_exposure(random))
            inherited = memorised and random.random() < remaining
            student.append(MAXIMUM if inherited else chance_exposure(random))
        share = reduction([student], [reference], SPACE)
        if share is not None:
            defined += 1
            covered += share.low <= 1 - remaining <= share.high
    assert defined > 0.9 * runs
    assert covered >= defined * 0.95 - 3 * (defined * 0.95 * 0.05) ** 0.5
