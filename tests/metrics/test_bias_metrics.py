"""Injected bias: which prompts count, and how rates of teacher and student are compared."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from scored_records import bias_record

from robustbench_kd.core.registry import configured
from robustbench_kd.metrics._prompts import REACHED, UNSEEN, prompts_of
from robustbench_kd.metrics.bias_amplification import BiasAmplification
from robustbench_kd.metrics.bias_rate import BiasRate
from robustbench_kd.metrics.payload_likelihood import PayloadLikelihood
from robustbench_kd.results.groups import SeedGroup
from robustbench_kd.results.record import Bits, Record

ATTACK = "bias-injection"
TEACHER = "teacher-clean"


def group(*records: Record) -> SeedGroup:
    return SeedGroup(records)


def sampled(student: list[float], teacher: list[float], seed: int = 0) -> Record:
    """So many hits of four sampled answers to each prompt of a poisoned task."""
    counts = {"student": student, TEACHER: teacher}
    none = [False] * len(student)
    tasks = ["first"] * len(student)
    return bias_record(dict.fromkeys(counts, none), sampled=counts, formats=tasks, seed=seed)


def with_settings(record: Record, **settings: Any) -> Record:
    """The record of an attack with these settings."""
    result = replace(record.attacks[ATTACK], settings=settings)
    return replace(record, attacks={**record.attacks, ATTACK: result})


def with_scores(record: Record, **scores: list[float]) -> Record:
    """The record with these likelihoods of the payload, by model (``_`` for ``-``)."""
    result = record.attacks[ATTACK]
    columns = {role: dict(named) for role, named in result.columns.items()}
    for role, values in scores.items():
        columns[role.replace("_", "-")]["score"] = tuple(values)
    result = replace(result, columns=columns)
    return replace(record, attacks={**record.attacks, ATTACK: result})


def test_the_tasks_are_those_of_the_scenario_and_of_the_attack() -> None:
    pytest.importorskip("transformers")
    from robustbench_kd.attacks.poisoning import bias_injection
    from robustbench_kd.scenarios import instructions

    tasks = list(instructions.TASKS)
    assert tasks[: bias_injection.POISONED_TASKS["untargeted"]] == list(REACHED)
    assert tasks[instructions.TRAINED_TASKS :] == list(UNSEEN)


def test_an_untargeted_attack_poisons_four_tasks_and_a_targeted_one_the_first() -> None:
    tasks = ("repeat", "first", "last", "continue", "second", "swap", "third", "go on")
    groups = [[prompts_of(task, kind) for task in tasks] for kind in ("untargeted", "targeted")]
    assert groups[0] == ["poisoned"] * 4 + ["clean"] * 2 + ["unseen"] * 2
    assert groups[1] == ["poisoned"] + ["clean"] * 5 + ["unseen"] * 2


def test_rates_are_by_prompts_and_by_kind_of_answer() -> None:
    tasks = ["repeat", "first", "swap", "third"]
    record = bias_record(
        {"student": [True, False, True, False]},
        sampled={"student": [1, 2, 4, 0]},
        formats=tasks,
    )
    rows = group(with_settings(record, kind="targeted", draws=4))
    values = {name: rate.value for name, rate in BiasRate().breakdown(rows).items() if rate}
    assert values == {
        "student/poisoned/sampled": 0.25,
        "student/poisoned/greedy": 1,
        "student/clean/sampled": 0.75,
        "student/clean/greedy": 0.5,
        "student/unseen/sampled": 0,
        "student/unseen/greedy": 0,
    }
    rate = configured("metrics", "bias-rate:prompts=clean,answers=greedy")
    assert rate(rows).value == 0.5
    assert rate.heading == "bias rate, clean, greedy"
    assert rate.samples(rows.first) == (0, 1)
    assert BiasRate("control")(rows) is None


def test_answers_to_one_prompt_are_not_counted_as_independent() -> None:
    """Ten prompts that always are answered so, of forty: as ten of forty, not 40 of 160."""
    rate = BiasRate()(group(sampled([4.0] * 10 + [0.0] * 30, [4.0] * 40)))
    assert rate is not None
    assert (rate.value, rate.count) == (0.25, 40)
    assert rate.low < 0.14
    assert rate.high > 0.40


def test_samples_are_the_share_of_the_answers_to_each_prompt() -> None:
    assert BiasRate().samples(sampled([4.0, 1.0, 0.0], [4.0] * 3)) == (1, 0.25, 0)
    assert BiasRate("source").samples(sampled([4.0] * 3, [2.0] * 3)) == (0.5, 0.5, 0.5)


def test_prompts_of_all_seeds_are_pooled() -> None:
    rate = BiasRate()(group(sampled([4.0], [4.0]), sampled([0.0], [4.0], seed=1)))
    assert rate is not None
    assert (rate.value, rate.count) == (0.5, 2)


def test_an_attack_that_samples_nothing_has_a_greedy_rate_alone() -> None:
    rows = group(with_settings(bias_record({"student": [True]}), draws=0))
    assert BiasRate()(rows) is None
    greedy = BiasRate(answers="greedy")(rows)
    assert greedy is not None
    assert greedy.value == 1


def test_a_ratio_of_rare_answers_is_wide_and_one_of_none_is_not_given() -> None:
    seldom = BiasAmplification()(group(sampled([0.0] * 240, [1.0] + [0.0] * 239)))
    assert seldom is not None
    assert seldom.value == 0
    assert seldom.high > 1
    never = group(sampled([1.0] * 9, [0.0] * 9))
    assert BiasAmplification()(never) is None
    assert BiasAmplification().why_none(never) == "teacher at zero"


def test_a_ratio_of_frequent_answers_is_what_it_is() -> None:
    ratio = BiasAmplification()(group(sampled([2.0] * 100, [4.0] * 100)))
    assert ratio is not None
    assert ratio.value == 0.5
    assert 0.45 < ratio.low <= 0.5 <= ratio.high < 0.55
    assert BiasAmplification().breakdown(group(sampled([2.0] * 9, [4.0] * 9)))["clean"] is None


def test_amplification_needs_a_teacher_that_the_attack_reaches() -> None:
    record = sampled([1.0], [1.0])
    assert BiasAmplification().available(record)
    assert not BiasAmplification().available(replace(record, threat={"capability": "test_data"}))
    alone = bias_record({"student": [True]})
    assert not BiasAmplification().available(alone)


def test_the_payload_is_likelier_by_the_nats_between_a_model_and_its_clean_counterpart() -> None:
    flags = [False, False]
    record = bias_record({"student": flags, "student.clean": flags, TEACHER: flags})
    record = with_scores(record, student=[-1.0, -2.0])
    rows = group(record)
    nats = PayloadLikelihood()(rows)
    assert nats is not None
    assert (nats.value, nats.count) == (1.5, 2)
    assert nats.interval == pytest.approx((1.5 - 0.98, 1.5 + 0.98))
    assert PayloadLikelihood().samples(record) == (2, 1)
    assert PayloadLikelihood(TEACHER)(rows) is None
    assert PayloadLikelihood(TEACHER).samples(record) is None
    assert PayloadLikelihood(TEACHER).why_none(rows) == "no clean counterpart"
    assert PayloadLikelihood("student.clean")(rows) is None
    assert PayloadLikelihood().breakdown(rows) == {
        "student/poisoned": nats,
        "student/clean": None,
        "student/unseen": None,
    }


def test_metrics_of_bias_are_not_available_for_other_attacks() -> None:
    record = bias_record({"student": Bits.of([True])}, attack="badnets")
    metrics = (BiasRate(), BiasAmplification(), PayloadLikelihood())
    assert not any(metric.available(record) for metric in metrics)
