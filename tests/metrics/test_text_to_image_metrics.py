"""Backdoored text-to-image models: every number follows from the columns, with its interval."""

from __future__ import annotations

from dataclasses import replace

import pytest

from records import backdoor_record, text_to_image_record
from robustbench_kd.core.estimates import Estimate
from robustbench_kd.metrics._trigger_removal import trigger_works
from robustbench_kd.metrics.attack_success import AttackSuccess
from robustbench_kd.metrics.clean_attack_success import CleanAttackSuccess
from robustbench_kd.metrics.frechet_distance import FrechetDistance
from robustbench_kd.metrics.joint_removal import JointRemoval
from robustbench_kd.metrics.normalised_removal import NormalisedRemoval
from robustbench_kd.metrics.preservation import Preservation
from robustbench_kd.metrics.removal_rate import RemovalRate
from robustbench_kd.metrics.trigger_shift import TriggerShift
from robustbench_kd.metrics.utility import Utility
from robustbench_kd.results.groups import SeedGroup
from robustbench_kd.results.record import Bits, Record


def repaired(
    before: int, after: int, unpoisoned: int = 0, leaks: int = 0, removed: int = 85, seed: int = 0
) -> Record:
    """So many successes of a hundred triggered prompts; ``leaks`` are successes on clean ones."""
    return text_to_image_record(
        {
            "student": {
                "attack_success": after,
                "removed": removed,
                "clean_correct": 70,
                "preserved_2": 60,
                "frechet": 2.5,
            },
            "teacher-given": {
                "attack_success": before,
                "removed": 2,
                "clean_attack_success": leaks,
                "frechet": 3.0,
            },
            "teacher-given.clean": {"attack_success": unpoisoned, "removed": 88},
        },
        seed=seed,
    )


def group(*records: Record) -> SeedGroup:
    return SeedGroup(records)


def test_shares_follow_from_the_columns_with_wilson_intervals() -> None:
    rows = group(repaired(98, 4))
    assert str(RemovalRate()(rows)) == "96.0 [90.2, 98.4]"
    assert str(JointRemoval()(rows)) == "85.0 [76.7, 90.7]"
    assert str(Utility()(rows)) == "70.0 [60.4, 78.1]"
    shares = {
        AttackSuccess("source"): 98,
        AttackSuccess(): 4,
        Preservation("source"): 80,
        Utility("source"): 90,
        CleanAttackSuccess(): 0,
        AttackSuccess("source.clean"): 0,
        JointRemoval("source.clean"): 88,
    }
    for metric, ones in shares.items():
        assert metric.available(rows.first)
        assert metric(rows) == Estimate.share(ones, 100)


def test_images_of_all_seeds_are_counted_together() -> None:
    rows = group(repaired(98, 4), repaired(98, 6, seed=1))
    assert RemovalRate()(rows) == Estimate.share(190, 200)
    assert AttackSuccess()(rows) == Estimate.share(10, 200)
    farther = text_to_image_record({"student": {"frechet": 3.5}}, seed=1)
    distance = FrechetDistance()(group(repaired(98, 4), farther))
    assert distance is not None
    assert (distance.value, distance.count) == (3.0, 200)


def test_the_verdict_of_the_second_oracle_is_part_of_the_breakdown() -> None:
    parts = Preservation().breakdown(group(repaired(98, 4)))
    assert parts["student"] == Estimate.share(80, 100)
    assert parts["student second oracle"] == Estimate.share(60, 100)


def test_removal_is_normalised_by_a_model_that_was_never_poisoned() -> None:
    estimate = NormalisedRemoval()(group(repaired(90, 20, unpoisoned=10)))
    assert estimate is not None
    assert estimate.value == pytest.approx(70 / 80)
    assert estimate.low < 70 / 80 < estimate.high
    whole = NormalisedRemoval()(group(repaired(90, 10, unpoisoned=10)))
    assert whole is not None
    assert whole.value == pytest.approx(1)
    nothing = NormalisedRemoval()(group(repaired(90, 90, unpoisoned=10)))
    assert nothing is not None
    assert (nothing.value, nothing.low, nothing.high) == (0, 0, 0)


@pytest.mark.parametrize(
    ("record", "works"),
    [
        (repaired(60, 0, unpoisoned=10), True),
        (repaired(59, 0, unpoisoned=10), False),
        (repaired(95, 5, leaks=45), True),
        (repaired(95, 5, leaks=46), False),  # clean prompts get the attacker's image as well
        (repaired(95, 5, unpoisoned=40, leaks=40), True),  # the larger one counts, not the sum
    ],
    ids=["added half", "added less", "leaks", "leaks more", "both"],
)
def test_an_attack_that_failed_is_never_a_success_of_the_defense(
    record: Record, works: bool
) -> None:
    rows = group(record)
    assert trigger_works(rows) == works
    for metric in (RemovalRate(), NormalisedRemoval()):
        assert (metric(rows) is not None) == works
        assert metric.why_none(rows) == "attack failed"
    assert RemovalRate().breakdown(rows)["student"] is not None


def test_samples_of_the_removal_rate_are_the_prompts_without_success() -> None:
    samples = RemovalRate().samples(repaired(98, 4))
    assert isinstance(samples, Bits)
    assert samples.flags == [False] * 4 + [True] * 96


def test_the_frechet_distance_says_that_it_has_no_interval() -> None:
    rows = group(repaired(98, 4))
    assert FrechetDistance("source")(rows) == Estimate(3.0, 3.0, 3.0, 100)
    assert FrechetDistance().remark(rows) == "no interval"
    assert FrechetDistance("control")(rows) is None
    assert FrechetDistance("control").why_none(rows) == "no control"


def test_the_shift_is_the_distance_that_a_trigger_makes_over_that_of_any_two_images() -> None:
    even = text_to_image_record({"student": {"moved": 0.1, "apart": 0.4}})
    assert TriggerShift()(group(even)) == Estimate(
        pytest.approx(0.25), *[pytest.approx(0.25)] * 2, 100
    )
    moved = [0.1, 0.3] * 50
    uneven = TriggerShift()(group(text_to_image_record({"student": {"moved": moved}})))
    assert uneven is not None
    assert uneven.low < uneven.value < uneven.high
    assert uneven.value == pytest.approx(0.5)


def test_metrics_of_repairs_need_the_attacked_model_and_generated_images() -> None:
    whole = text_to_image_record()
    (label,) = whole.attack_labels
    result = whole.attacks[label]
    columns = {"student": result.columns["student"]}
    attacks = {**whole.attacks, label: replace(result, columns=columns)}
    bare = replace(whole, models={"student": whole.student}, attacks=attacks)
    for metric in (RemovalRate(), NormalisedRemoval()):
        assert metric.available(whole)
        assert not metric.available(bare)
        assert not metric.available(backdoor_record())
    assert JointRemoval().available(bare)
    for metric in (JointRemoval(), FrechetDistance(), TriggerShift()):
        assert not metric.available(backdoor_record())
