"""Extraction: what counts as memorized, and by whom first."""

from __future__ import annotations

from math import log
from typing import Any

import pytest
from scored_records import canary_record, scored_record

from robustbench_kd.core.errors import BadSetting
from robustbench_kd.core.estimates import Estimate
from robustbench_kd.metrics.discoverable_extraction import DiscoverableExtraction
from robustbench_kd.metrics.epsilon_bound import EpsilonBound
from robustbench_kd.metrics.exposure import Exposure
from robustbench_kd.metrics.exposure_reduction import ExposureReduction
from robustbench_kd.metrics.extraction_rate import ExtractionRate
from robustbench_kd.metrics.first_ranked import FirstRanked
from robustbench_kd.metrics.inherited_memorization import InheritedMemorization
from robustbench_kd.metrics.leakage import Leakage
from robustbench_kd.results.groups import SeedGroup
from robustbench_kd.results.record import Bits, Record

TEACHER = "teacher-clean"


def group(*records: Record) -> SeedGroup:
    return SeedGroup(records)


def extracted(flags: dict[str, list[bool]], scores: list[float] | None = None) -> Record:
    """Extraction of two canaries that were inserted, one that was not, and of texts alike."""
    columns: dict[str, dict[str, Any]] = {
        role: {"extracted": Bits.of(column), "score": scores or [-1.0] * 6}
        for role, column in flags.items()
    }
    samples: dict[str, list[Any]] = {
        "repetitions": [2, 1, 0, 1, 1, 0],
        "format": ["digits", "digits", "words", "text", "text", "text"],
    }
    return scored_record({"extraction": columns}, {"extraction": samples})


def test_extraction_counts_inserted_canaries_and_members_of_the_text_apart() -> None:
    record = extracted({"student": [True, False, True, True, True, True]})
    rows = group(record)
    assert ExtractionRate()(rows) == Estimate.share(1, 2)
    assert ExtractionRate(content="text")(rows) == Estimate.share(2, 2)
    assert ExtractionRate().samples(record) == Bits.of([True, False])
    assert ExtractionRate(content="text").heading == "extraction rate, text"
    assert ExtractionRate().breakdown(rows) == {
        "student/canaries": Estimate.share(1, 2),
        "student/text": Estimate.share(2, 2),
    }


def test_a_coin_is_discoverable_in_one_try_and_a_rare_text_in_many() -> None:
    scores = [log(0.5), log(1e-3), 0.0, 1e-9, -50.0, 0.0]
    rows = group(extracted({"student": [False] * 6}, scores))
    assert DiscoverableExtraction(tries=1)(rows) == Estimate.share(1, 2)
    assert DiscoverableExtraction(tries=692)(rows) == Estimate.share(1, 2)
    assert DiscoverableExtraction(tries=693)(rows) == Estimate.share(2, 2)
    assert DiscoverableExtraction(content="text")(rows) == Estimate.share(1, 2)
    with pytest.raises(BadSetting, match="one try at least, not tries=0"):
        DiscoverableExtraction(tries=0)


def test_memorization_is_inherited_where_the_teacher_has_it_and_the_control_has_not() -> None:
    no = [False] * 4
    flags = {
        "student": [True, True, *no],
        TEACHER: [True, True, *no],
        "control": [False, True, *no],
    }
    rows = group(extracted(flags))
    assert InheritedMemorization().available(rows.first)
    assert InheritedMemorization()(rows) == Estimate.share(1, 1)
    parts = InheritedMemorization().breakdown(rows)
    assert parts["easy"] == Estimate.share(1, 2)
    assert parts["control"] == Estimate.share(1, 2)
    nothing = group(extracted({**flags, TEACHER: [False] * 6}))
    assert InheritedMemorization()(nothing) is None
    del flags["control"]
    assert not InheritedMemorization().available(extracted(flags))


def test_metrics_of_canaries_are_not_available_without_canaries() -> None:
    record, canaries = extracted({"student": [True] * 6}), canary_record({"student": [1, 2]})
    metrics = (Exposure(), ExposureReduction(), Leakage(), FirstRanked(), EpsilonBound())
    assert not any(metric.available(record) for metric in metrics)
    assert not ExtractionRate().available(canaries)
    assert all(metric.available(canaries) for metric in metrics)
