"""Membership: which scores are compared, and whose rate is given."""

from __future__ import annotations

import pytest
from scored_records import membership_record, scored_record

from robustbench_kd.core.errors import BadSetting
from robustbench_kd.core.registry import configured
from robustbench_kd.metrics.membership_auc import MembershipAuc
from robustbench_kd.metrics.membership_tpr import MembershipTpr
from robustbench_kd.ops.statistics.roc import auc, tpr_at
from robustbench_kd.results.groups import SeedGroup
from robustbench_kd.results.record import Bits, Record


def group(*records: Record) -> SeedGroup:
    return SeedGroup(records)


def scored(members: list[float], others: list[float], seed: int = 0) -> Record:
    """The student's scores: of members, then of others."""
    flags = [True] * len(members) + [False] * len(others)
    return membership_record({"student": [*members, *others]}, flags, seed=seed)


def several(**scores: list[float]) -> Record:
    """Two members and two others, scored by several methods."""
    attack = "membership-inference"
    return scored_record(
        {attack: {"student": scores}}, {attack: {"repetitions": [1, 1, 0, 0], "format": ["t"] * 4}}
    )


def test_the_area_is_that_of_members_against_others_over_all_seeds() -> None:
    rows = group(scored([3.0, 2.0], [1.0, 2.5]), scored([9.0, 8.0], [0.0, 0.5], seed=1))
    area, expected = MembershipAuc()(rows), auc([3.0, 2.0, 9.0, 8.0], [1.0, 2.5, 0.0, 0.5])
    assert area is not None
    assert (area.value, area.low, area.high) == (expected.value, expected.low, expected.high)
    assert area.count == 8


def test_without_a_method_the_best_one_counts_and_the_remark_names_it() -> None:
    rows = group(several(score=[1, 2, 3, 4], score_min_k=[3, 4, 1, 2], score_zlib=[1, 3, 2, 4]))
    best = MembershipAuc()(rows)
    assert best is not None
    assert best.value == 1
    assert MembershipAuc().remark(rows) == "min k"
    values = {
        name: value and value.value for name, value in MembershipAuc().breakdown(rows).items()
    }
    assert values == {"student/loss": 0, "student/min_k": 1, "student/zlib": 0.25}
    assert configured("metrics", "membership-auc:method=zlib")(rows).value == 0.25
    assert MembershipAuc(method="zlib").remark(rows) == ""
    assert MembershipAuc(method="lira")(rows) is None
    assert not MembershipAuc(method="lira").available(rows.first)
    assert MembershipAuc(method="min_k").heading == "membership AUC, min k"


def test_columns_that_are_no_scores_are_no_methods() -> None:
    rows = group(several(score=[1, 2, 3, 4], rank=[1, 1, 2, 2], candidates=[4, 4, 4, 4]))
    assert list(MembershipAuc().breakdown(rows)) == ["student/loss"]


def test_samples_are_the_place_of_each_member_among_the_others_and_their_mean_is_the_area() -> None:
    record = scored([5.0, 2.0, 6.0], [1.0, 3.0, 2.0])
    samples, area = MembershipAuc().samples(record), MembershipAuc()(group(record))
    assert area is not None
    assert isinstance(samples, tuple)
    assert samples == (1, 0.5, 1)
    assert sum(samples) / 3 == pytest.approx(area.value)


def test_members_are_identified_at_one_error_in_a_hundred_where_there_are_a_hundred() -> None:
    others = [float(score) for score in range(100)]
    record = scored([98.5, 99.5, 3.0, 98.0], others)
    rate, expected = MembershipTpr()(group(record)), tpr_at([98.5, 99.5, 3.0, 98.0], others)
    assert rate is not None
    assert (rate.hits, rate.count, rate.value) == (2, 4, 0.5)
    assert (rate.low, rate.high) == (expected.low, expected.high)
    assert MembershipTpr().samples(record) == Bits.of([True, True, False, False])
    few = scored([98.5, 99.5], others[:99])
    assert MembershipTpr()(group(few)) is None
    assert MembershipTpr().samples(few) is None
    assert MembershipTpr().why_none(group(few)) == "too few non-members"
    assert MembershipTpr().remark(group(few)) == ""
    assert MembershipTpr(fpr=0.1)(group(few)) is not None
    assert MembershipTpr(fpr=0.1).heading == "membership TPR at 10 % FPR"


@pytest.mark.parametrize("fpr", [0.0, 1.0])
def test_a_rate_that_is_none_is_refused(fpr: float) -> None:
    with pytest.raises(BadSetting, match="an fpr between 0 and 1"):
        MembershipTpr(fpr=fpr)


def test_a_single_member_has_no_area() -> None:
    assert MembershipAuc()(group(scored([1.0], [0.0, 0.5]))) is None
