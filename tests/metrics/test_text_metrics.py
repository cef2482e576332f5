"""What a language model is worth: perplexity, its increase, and bits per byte."""

from __future__ import annotations

from math import exp, expm1, log
from typing import Any

import pytest
from scored_records import canary_record

from robustbench_kd.core.registry import board_of
from robustbench_kd.metrics._intervals import normal_mean, ratio_values
from robustbench_kd.metrics.bits_per_byte import BitsPerByte
from robustbench_kd.metrics.perplexity import Perplexity
from robustbench_kd.metrics.perplexity_increase import PerplexityIncrease
from robustbench_kd.results.groups import SeedGroup, reference_of, seed_groups
from robustbench_kd.results.record import Record

RANKS = {"student": [1.0], "teacher-clean": [1.0]}


def text(*nats: float, label: str = "swing", seed: int = 0, **fields: Any) -> Record:
    """The student's nats on each row of 64 tokens and 200 bytes; the teacher's are 128 each."""
    losses = {"student": nats, "teacher-clean": [128.0] * len(nats)}
    return canary_record(RANKS, test_nll=losses, label=label, seed=seed, **fields)


def group(*records: Record) -> SeedGroup:
    return SeedGroup(records)


def test_perplexity_is_the_exponential_of_the_nats_a_token_over_all_seeds() -> None:
    perplexity = Perplexity()(group(text(64, 128, seed=0), text(128, 192, seed=1)))
    assert perplexity is not None
    assert perplexity.value == pytest.approx(exp(2))
    spread = 1.96 * (0.5 / 2) ** 0.5  # rows of 1.5 and 2.5 nats a token
    assert perplexity.low == pytest.approx(exp(2 - spread))
    assert perplexity.high == pytest.approx(exp(2 + spread))
    assert perplexity.count == 2


def test_rows_count_by_their_tokens() -> None:
    samples = {"tokens": [10, 30], "bytes": [10, 30]}
    perplexity = Perplexity()(group(text(10, 90, test_samples=samples)))
    assert perplexity is not None
    assert perplexity.value == pytest.approx(exp(100 / 40))
    values = ratio_values([10, 90], [10, 30])
    assert sum(values) / 2 == pytest.approx(2.5)


def test_a_single_row_shows_no_spread_and_gives_no_number() -> None:
    assert Perplexity()(group(text(64))) is None
    assert normal_mean([1.0]) is None


def test_the_interval_of_a_mean_is_that_of_a_normal_law() -> None:
    estimate = normal_mean([1.0, 2.0, 3.0])
    assert estimate is not None
    assert estimate.value == 2
    assert estimate.high - 2 == pytest.approx(1.96 / 3**0.5)


def test_perplexity_is_broken_down_by_model() -> None:
    rows = group(text(64, 64, 64))
    values = {role: value.value for role, value in Perplexity().breakdown(rows).items() if value}
    assert values == {"student": pytest.approx(exp(1)), "teacher-clean": pytest.approx(exp(2))}
    assert Perplexity("pretrained")(rows) is None
    assert Perplexity("pretrained").why_none(rows) == "no pretrained"


def test_samples_of_perplexity_rank_rows_by_nats_and_their_mean_is_the_perplexity() -> None:
    samples = Perplexity().samples(text(64, 128, 192))
    assert isinstance(samples, tuple)
    assert sum(samples) / 3 == pytest.approx(exp(2))
    assert samples == pytest.approx([0.0, exp(2), 2 * exp(2)], abs=1e-12)


def test_the_increase_is_paired_by_row_and_over_the_seeds_that_both_have() -> None:
    reference = group(text(64, 128, 192, label="distillation", seed=1))
    student = group(text(1, 1, 1, seed=0), text(70.4, 134.4, 198.4, seed=1))
    increase = PerplexityIncrease()(student, reference)
    assert increase is not None
    assert increase.value == pytest.approx(expm1(0.1))
    assert increase.low == pytest.approx(increase.high)  # every row is worse by as much
    assert PerplexityIncrease()(reference, reference) is None
    assert PerplexityIncrease().why_none(reference) == "reference"
    assert PerplexityIncrease()(group(text(1, 1, 1, seed=0)), reference) is None


def test_paired_samples_of_the_increase_differ_by_the_increase_as_a_share() -> None:
    before, after = (
        PerplexityIncrease().samples(record) for record in (text(64, 128), text(65, 129))
    )
    assert isinstance(before, tuple)
    assert isinstance(after, tuple)
    assert [b - a for a, b in zip(before, after, strict=True)] == pytest.approx([1 / 64, 1 / 64])


def test_bits_per_byte_do_not_depend_on_tokens() -> None:
    rows = group(text(100 * log(2), 300 * log(2)))
    bits = BitsPerByte()(rows)
    assert bits is not None
    assert bits.value == pytest.approx(1.0)
    assert bits.low < 1 < bits.high
    fewer = group(text(100 * log(2), 300 * log(2), test_samples={"tokens": [9, 9]}))
    assert BitsPerByte()(fewer) == bits
    samples = BitsPerByte().samples(rows.first)
    assert isinstance(samples, tuple)
    assert sum(samples) / 2 == pytest.approx(1.0)


def test_students_of_another_text_or_network_are_neither_pooled_nor_compared() -> None:
    board = board_of("text-privacy")
    reference = text(64, 64, label="distillation:temperature=1")
    reference_on_other_text = text(
        64, 64, label="distillation:temperature=1", seed=1, data={"examples": "other"}
    )
    groups = seed_groups(board, [reference, reference_on_other_text, text(65, 65)])
    assert [len(rows.records) for rows in groups] == [1, 1, 1]
    student = next(rows for rows in groups if rows.first.label == "swing")
    compared = reference_of(groups, student)
    assert compared is not None
    assert compared.first is reference
    alike = seed_groups(board, [reference, text(64, 64, label=reference.label, seed=1)])
    assert [len(rows.records) for rows in alike] == [2]
