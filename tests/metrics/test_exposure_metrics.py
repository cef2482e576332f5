"""Exposure of canaries: the mean of given ranks, and which canaries are counted."""

from __future__ import annotations

from math import log2
from typing import Any

import pytest
from scored_records import canary_record

from robustbench_kd.core.estimates import Estimate
from robustbench_kd.core.registry import configured
from robustbench_kd.metrics._canaries import has_format
from robustbench_kd.metrics.epsilon_bound import EpsilonBound
from robustbench_kd.metrics.exposure import Exposure
from robustbench_kd.metrics.first_ranked import FirstRanked
from robustbench_kd.metrics.leakage import Leakage
from robustbench_kd.ops.statistics.bootstrap import mean_interval
from robustbench_kd.results.groups import SeedGroup
from robustbench_kd.results.record import Bits, Record

TEACHER = "teacher-clean"
FORMATS = ["digits", "digits", "words", "words"]


def group(*records: Record) -> SeedGroup:
    return SeedGroup(records)


def ranked(*student: float, label: str = "swing", seed: int = 0, **fields: Any) -> Record:
    """Canaries among 1024 candidates; the teacher ranks each of them first."""
    ranks = {"student": student, TEACHER: [1.0] * len(student)}
    return canary_record(ranks, candidates=1024, label=label, seed=seed, **fields)


def test_exposure_is_the_mean_of_the_bits_with_an_interval_over_canaries() -> None:
    exposure = Exposure()(group(ranked(1, 2, 4, 1024)))
    interval = mean_interval([10.0, 9.0, 8.0, 0.0], 0, 10)
    assert exposure == Estimate(27 / 4, interval.low, interval.high, 4)


def test_seeds_are_pooled_canary_by_canary() -> None:
    exposure = Exposure()(group(ranked(1, 1, seed=0), ranked(1024, 1024, seed=1)))
    assert exposure is not None
    assert (exposure.value, exposure.count) == (5, 4)


def test_formats_are_selected_by_name_all_together_or_all_but_one() -> None:
    assert [has_format(f, "digits") for f in ("digits", "blind")] == [True, False]
    assert [has_format(f, "all") for f in ("digits", "blind")] == [True, True]
    assert [has_format(f, "") for f in ("digits", "blind")] == [True, True]
    assert [has_format(f, "all but blind") for f in ("digits", "blind")] == [True, False]


def test_only_inserted_canaries_count_unless_repetitions_are_given() -> None:
    rows = group(ranked(1, 2, 512, 1024, repetitions=[4, 1, 0, 0], formats=FORMATS))
    values = {
        text: configured("metrics", f"exposure{text}")(rows)
        for text in ("", ":repetitions=4", ":repetitions=0", ":format=words", ":format=digits")
    }
    assert {text: value and value.value for text, value in values.items()} == {
        "": 9.5,
        ":repetitions=4": 10,
        ":repetitions=0": 0.5,
        ":format=words": None,
        ":format=digits": 9.5,
    }


def test_the_breakdown_is_by_model_format_and_repetitions_whatever_the_settings() -> None:
    rows = group(ranked(1, 2, 4, 1024, repetitions=[4, 1, 1, 0], formats=FORMATS))
    parts = Exposure().breakdown(rows)
    assert parts == Exposure(model=TEACHER, format="digits").breakdown(rows)
    values = {name: value.value for name, value in parts.items() if value is not None}
    assert values["student"] == 9
    assert values["student/words"] == 8
    assert values["student/repetitions=0"] == 0
    assert values["student/repetitions=1"] == 8.5
    assert values[f"{TEACHER}/digits"] == 10
    assert len(values) == 2 * (1 + 2 + 3)


@pytest.mark.parametrize("metric", [Exposure(), FirstRanked(), Leakage(format="all")])
def test_samples_are_a_value_a_canary_whose_mean_is_the_metric(metric: Exposure) -> None:
    record = ranked(1, 2, 600, 4, 9, repetitions=[1, 1, 1, 8, 0])
    samples = metric.samples(record)
    value = metric(group(record))
    assert samples is not None
    assert value is not None
    numbers = samples.flags if isinstance(samples, Bits) else samples
    assert len(numbers) == 4
    assert sum(numbers) / 4 == pytest.approx(value.value)


def test_a_model_that_was_not_evaluated_has_no_value_and_the_reason_is_given() -> None:
    rows = group(ranked(1, 2))
    assert Exposure("control")(rows) is None
    assert Exposure("control").samples(rows.first) is None
    assert Exposure("control").why_none(rows) == "no control"
    assert Exposure("source")(rows) == Exposure(TEACHER)(rows)
    assert EpsilonBound("control").remark(rows) == Leakage("control").remark(rows) == ""


def test_headings_name_the_settings() -> None:
    assert Exposure().heading == "exposure"
    assert Exposure(TEACHER, "digits", 4).heading == (
        "exposure of teacher-clean, digits, repetitions=4"
    )
    assert Leakage().heading == "leakage, worst"


def test_half_a_bit_is_the_factor_by_which_ranks_may_improve() -> None:
    before, after = (Exposure()(group(ranked(*[rank] * 4))) for rank in (14.0, 10.0))
    assert before is not None
    assert after is not None
    assert after.value - before.value == pytest.approx(log2(1.4))
    assert after.value - before.value < Exposure.margin
