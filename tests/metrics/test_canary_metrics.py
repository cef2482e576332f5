"""What follows from the ranks of canaries: reduction, leakage, p-values and epsilon."""

from __future__ import annotations

from typing import Any

import pytest
from scored_records import canary_record

from robustbench_kd.core.estimates import Estimate
from robustbench_kd.metrics.chance_p import ChanceP
from robustbench_kd.metrics.epsilon_bound import EpsilonBound
from robustbench_kd.metrics.exposure_reduction import ExposureReduction
from robustbench_kd.metrics.first_ranked import FirstRanked
from robustbench_kd.metrics.leakage import Leakage
from robustbench_kd.metrics.memorization_p import MemorizationP
from robustbench_kd.ops.privacy.exposure import CHANCE, epsilon_bound
from robustbench_kd.ops.privacy.exposure import reduction as exposure_reduction
from robustbench_kd.results.groups import SeedGroup
from robustbench_kd.results.record import Record

TEACHER = "teacher-clean"
FORMATS = ["digits", "digits", "words", "words"]


def group(*records: Record) -> SeedGroup:
    return SeedGroup(records)


def ranked(*student: float, label: str = "swing", seed: int = 0, **fields: Any) -> Record:
    """Canaries among 1024 candidates; the teacher ranks each of them first."""
    ranks = {"student": student, TEACHER: [1.0] * len(student)}
    return canary_record(ranks, candidates=1024, label=label, seed=seed, **fields)


def test_half_of_the_excess_gone_is_a_reduction_of_one_half() -> None:
    plain, halved = [1.0] * 40, [2 ** (10 - (10 + CHANCE) / 2)] * 40
    reference = group(ranked(*plain, label="distillation"))
    reduction = ExposureReduction()(group(ranked(*halved)), reference)
    assert reduction is not None
    assert reduction.value == pytest.approx(0.5)
    bits = (10 + CHANCE) / 2
    expected = exposure_reduction([[bits] * 40], [[10.0] * 40], 1024)
    assert expected is not None
    assert reduction.interval == pytest.approx((expected.low, expected.high))
    assert reduction.count == 40


def test_a_reduction_is_over_the_seeds_that_both_have() -> None:
    reference = group(ranked(*[1.0] * 40, label="distillation", seed=1))
    student = group(ranked(*[1.0] * 40, seed=0), ranked(*[4.0] * 40, seed=1))
    reduction = ExposureReduction()(student, reference)
    assert reduction is not None
    assert reduction.value == pytest.approx(1 - (8 - CHANCE) / (10 - CHANCE))
    assert reduction.count == 40
    assert ExposureReduction()(group(ranked(1, seed=0)), reference) is None


def test_the_reference_reduces_nothing_and_is_called_so() -> None:
    reference = group(ranked(*[1.0] * 40, label="distillation"))
    assert ExposureReduction()(reference, reference) is None
    assert ExposureReduction().why_none(reference) == "reference"
    assert ExposureReduction().why_none(group(ranked(1, 1))) == ""
    assert ExposureReduction()(group(ranked(1, 1)), None) is None


def test_where_the_reference_may_be_at_chance_there_is_no_reduction() -> None:
    reference = group(ranked(*[512.0] * 8, label="distillation"))
    assert ExposureReduction()(group(ranked(*[1024.0] * 8)), reference) is None


def test_a_reduction_is_broken_down_by_format_and_by_all_but_one() -> None:
    formats = ["digits"] * 40 + ["words"] * 40
    reference = group(ranked(*[1.0] * 80, label="distillation", formats=formats))
    student = group(ranked(*[1.0] * 40, *[4.0] * 40, formats=formats))
    parts = ExposureReduction().breakdown(student, reference)
    assert list(parts) == ["all", "digits", "words", "all but digits", "all but words"]
    assert parts["all but digits"] == parts["words"]
    assert parts["digits"] is not None
    assert parts["digits"].value == 0
    assert parts["all"] == ExposureReduction()(student, reference)
    single = ExposureReduction().breakdown(group(ranked(1, 1)), None)
    assert list(single) == ["all", "digits"]


def test_the_worst_leakage_is_that_of_the_format_that_the_remark_names() -> None:
    rows = group(ranked(1024, 1024, 1, 4, formats=FORMATS))
    worst = Leakage()(rows)
    assert worst == Leakage(format="words")(rows)
    assert worst is not None
    assert worst.value == pytest.approx((9 - CHANCE) / (10 - CHANCE))
    assert Leakage().remark(rows) == "words"
    assert Leakage(format="words").remark(rows) == ""
    assert set(Leakage().breakdown(rows)) == {"student", "student/digits", "student/words"}


def test_the_share_of_first_ranked_canaries_is_by_repetitions_too() -> None:
    rows = group(ranked(1, 2, 1, 1, repetitions=[1, 1, 8, 0]))
    assert FirstRanked()(rows) == Estimate.share(2, 3)
    assert FirstRanked().breakdown(rows)["student/repetitions=1"] == Estimate.share(1, 2)


def test_chance_p_is_about_canaries_that_were_never_inserted() -> None:
    usual = [2 ** (10 - CHANCE)] * 20
    rows = group(ranked(*[1.0] * 20, *usual, repetitions=[8] * 20 + [0] * 20))
    control, inserted = ChanceP()(rows), ChanceP(repetitions=None)(rows)
    assert control is not None
    assert inserted is not None
    assert control.value > 0.5
    assert inserted.value < 1e-12
    assert control.count == 20
    assert ChanceP().breakdown(rows) == {"student": control, TEACHER: ChanceP(TEACHER)(rows)}


def test_memorization_p_is_small_where_canaries_rank_first_and_large_where_they_rank_last() -> None:
    values = [MemorizationP()(group(ranked(*[rank] * 20))) for rank in (1.0, 1024.0)]
    low, high = (value.value for value in values if value is not None)
    assert low < 1e-12
    assert high > 0.999


def test_epsilon_is_the_largest_bound_of_all_formats_and_repetitions_and_shares_the_error() -> None:
    ranks = [1.0] * 20 + [1024.0] * 60
    rows = group(
        ranked(*ranks, repetitions=([4] * 20 + [2] * 20) * 2, formats=["a"] * 40 + ["b"] * 40)
    )
    bound = EpsilonBound()(rows)
    alone = epsilon_bound([1] * 20, 1024, copies=4, confidence=1 - 0.05 / 4)
    assert bound == Estimate(alone, alone, alone, 80)
    assert EpsilonBound().remark(rows) == "repetitions=4"
    assert EpsilonBound().breakdown(rows)["student"] == bound
