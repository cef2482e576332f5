"""Backdoors: shares, verdicts and the inheritance ratio follow from the bits of the records."""

from __future__ import annotations

import pytest

from records import INELIGIBLE, TEACHER, backdoor_record, evasion_record, first
from robustbench_kd.core.config import Leaderboard
from robustbench_kd.core.errors import BadRecord
from robustbench_kd.core.estimates import Estimate
from robustbench_kd.core.registry import board_of
from robustbench_kd.metrics._inheritance import excess, group_verdict, ratio, verdict
from robustbench_kd.metrics._poisoning_rates import poisoning_curves
from robustbench_kd.metrics.attack_success import AttackSuccess
from robustbench_kd.metrics.clean_accuracy import CleanAccuracy
from robustbench_kd.metrics.inheritance_ratio import InheritanceRatio
from robustbench_kd.metrics.recovered_accuracy import RecoveredAccuracy
from robustbench_kd.results.groups import SeedGroup, seed_groups
from robustbench_kd.results.record import Bits, Record

TEACHER_CLEAN = f"{TEACHER}.clean"


@pytest.fixture
def leaderboard() -> Leaderboard:
    return board_of("digits-backdoor")


def alone(record: Record) -> SeedGroup:
    return SeedGroup((record,))


def inherited(record: Record) -> Estimate:
    """The inheritance ratio of a record that has one."""
    estimate = InheritanceRatio()(alone(record))
    assert estimate is not None
    return estimate


# --------------------------------------------------------------------------------------- verdicts


def test_inheritance_is_the_students_excess_success_over_that_of_its_source() -> None:
    success = {TEACHER: 90, TEACHER_CLEAN: 10, "student": 44, "student.clean": 4, "control": 77}
    record = backdoor_record(success)
    assert excess(record, TEACHER) == pytest.approx(0.8)
    assert excess(record, "student") == pytest.approx(0.4)
    assert verdict(record) == "inherited"
    assert inherited(record).value == pytest.approx(0.5)
    assert inherited(record).count == 100


@pytest.mark.parametrize(
    ("success", "word"),
    [
        ({TEACHER: 20}, "inherited"),
        ({TEACHER: 90, "student": 90}, "inherited"),
        ({TEACHER: 19}, "failed"),
        ({TEACHER: 90, TEACHER_CLEAN: 75}, "failed"),  # the trigger fools a clean network too
        ({TEACHER: 19, "student": 20}, "dormant"),
        ({TEACHER: 19, "student": 60, "student.clean": 45}, "failed"),
        ({TEACHER: 5, TEACHER_CLEAN: 60, "student": 50}, "dormant"),
    ],
    ids=str,
)
def test_each_verdict_follows_from_the_bits(success: dict[str, int], word: str) -> None:
    record = backdoor_record(success)
    assert verdict(record) == group_verdict(alone(record)) == word
    assert (ratio(record) is None) == (word != "inherited")


def test_a_student_at_chance_that_always_answers_as_wanted_is_degenerate() -> None:
    """Of 1,000 clean inputs in ten classes it may get 120 right, which is two points above."""
    eligible = 1000 - INELIGIBLE
    for clean, ones, word in (
        (120, 950, "degenerate"),
        (121, 950, "inherited"),
        (120, 940, "inherited"),
    ):
        record = backdoor_record(
            {TEACHER: 900, "student": ones}, eligible=eligible, correct={"student": clean}
        )
        assert verdict(record) == word
    constant = backdoor_record({"student": 990}, eligible=990, correct={"student": 100})
    assert (verdict(constant), ratio(constant)) == ("degenerate", None)


def test_the_ratio_is_zero_without_inheritance_above_one_if_amplified_and_may_be_negative() -> None:
    assert ratio(backdoor_record({TEACHER: 50})) == 0
    assert ratio(backdoor_record({TEACHER: 50, "student": 75})) == pytest.approx(1.5)
    assert ratio(backdoor_record({TEACHER: 50, "student.clean": 25})) == pytest.approx(-0.5)


def test_the_source_is_the_worst_teacher_or_the_control_if_the_students_data_are_poisoned() -> None:
    success = {"teacher-clean": 30, "teacher-robust": 40, "control": 80, TEACHER_CLEAN: 99}
    roles = ("clean", "robust")
    assert alone(backdoor_record(success, teacher_roles=roles)).source == "teacher-robust"
    more = {**success, "teacher-clean": 41}
    assert alone(backdoor_record(more, teacher_roles=roles)).source == "teacher-clean"
    for some in (roles, ()):
        record = backdoor_record(teacher_roles=some, capability="student_train_data")
        assert alone(record).source == "control"


@pytest.mark.parametrize("role", ["public", "unpoisoned"])
def test_a_teacher_that_never_saw_poison_is_no_source(role: str) -> None:
    record = backdoor_record({f"teacher-{role}": 9}, teacher_roles=("given", role))
    assert alone(record).source == "teacher-given"


# ----------------------------------------------------------------------------------------- shares


def test_shares_are_counts_of_the_inputs_they_are_about() -> None:
    record = backdoor_record({"student": 30}, recovered={"student": 0}, correct={"student": 100})
    group = alone(record)
    assert AttackSuccess()(group) == Estimate.share(30, 100)
    assert RecoveredAccuracy()(group) == Estimate.share(0, 100)
    assert RecoveredAccuracy("control")(group) == Estimate.share(100, 100)
    assert CleanAccuracy()(group) == Estimate.share(100, 100 + INELIGIBLE)


def test_a_share_may_be_of_any_model_of_the_record() -> None:
    record = backdoor_record({TEACHER: 90, TEACHER_CLEAN: 3, "control": 7, "student.clean": 2})
    hits = {
        "source": 90,
        "source.clean": 3,
        "control": 7,
        "student": 0,
        "student.clean": 2,
        TEACHER: 90,
    }
    for model, ones in hits.items():
        assert AttackSuccess(model)(alone(record)) == Estimate.share(ones, 100)
        samples = AttackSuccess(model).samples(record)
        assert isinstance(samples, Bits)
        assert samples.number.bit_count() == ones
    by_role = AttackSuccess().breakdown(alone(record))
    assert set(by_role) == set(record.models)
    assert by_role[TEACHER] == Estimate.share(90, 100)


def test_a_model_that_the_record_does_not_hold_has_no_share_and_the_reason_names_it() -> None:
    metric = AttackSuccess("teacher-robust.clean")
    assert metric(alone(backdoor_record())) is None
    assert metric.samples(backdoor_record()) is None
    assert metric.why_none(alone(backdoor_record())) == "no unpoisoned teacher-robust"


def test_headings_say_of_which_model_a_share_is() -> None:
    assert AttackSuccess("source.clean").heading == "ASR of unpoisoned source"
    assert CleanAccuracy().heading == "clean accuracy"
    assert CleanAccuracy("source").heading == "clean accuracy of source"


def test_clean_accuracy_is_shown_beside_that_of_the_clean_counterpart() -> None:
    record = backdoor_record(correct={"student": 50, "student.clean": 55})
    assert CleanAccuracy().remark(alone(record)) == "50.0 without the poison"
    assert CleanAccuracy().remark(alone(evasion_record())) == ""


def test_backdoor_metrics_are_not_available_for_attacks_on_test_data() -> None:
    for metric in (AttackSuccess(), RecoveredAccuracy(), InheritanceRatio()):
        assert metric.available(backdoor_record())
        assert not metric.available(evasion_record())
    assert CleanAccuracy().available(evasion_record())
    assert CleanAccuracy("source")(alone(evasion_record())) is None


def test_there_is_no_inheritance_ratio_without_a_poisoned_model_to_inherit_from() -> None:
    record = backdoor_record(teacher_roles=())
    assert not InheritanceRatio().available(record)
    with pytest.raises(BadRecord, match="holds no teacher that was poisoned"):
        assert alone(record).source


# --------------------------------------------------------------------------------------- interval


def test_the_interval_holds_the_ratio_and_shrinks_with_more_inputs() -> None:
    spans = []
    for size in (1, 4, 16):
        success = {TEACHER: 80 * size, TEACHER_CLEAN: 10 * size, "student": 40 * size}
        estimate = inherited(backdoor_record(success, eligible=100 * size))
        assert estimate.low < estimate.value < estimate.high
        spans.append(estimate.high - estimate.low)
    assert spans[0] / spans[1] == pytest.approx(2, rel=0.15)
    assert spans[1] / spans[2] == pytest.approx(2, rel=0.15)


def test_what_models_share_cancels_from_the_interval() -> None:
    same = first(40, 100)
    equal = inherited(backdoor_record({TEACHER: same, "student": same}))
    assert (equal.low, equal.value, equal.high) == (1, 1, 1)
    other = inherited(backdoor_record({TEACHER: same, "student": same[::-1]}))
    assert other.high - other.low > 0.5


def test_there_is_no_ratio_where_inputs_are_too_few_for_its_interval() -> None:
    record = backdoor_record({TEACHER: 1, "student": 1}, eligible=4)
    assert ratio(record) == 1
    assert InheritanceRatio()(alone(record)) is None
    assert InheritanceRatio().why_none(alone(record)) == "too few inputs"


@pytest.mark.parametrize(
    ("success", "word"),
    [
        ({TEACHER: 3}, "failed"),
        ({TEACHER: 3, "student": 60}, "dormant, excess 0.60"),
        ({TEACHER: 3, "student": 100}, "degenerate"),
    ],
    ids=str,
)
def test_the_verdict_stands_where_there_is_no_ratio(success: dict[str, int], word: str) -> None:
    record = backdoor_record(success, correct={"student": 11} if word == "degenerate" else {})
    assert InheritanceRatio()(alone(record)) is None
    assert InheritanceRatio().why_none(alone(record)) == word


# ------------------------------------------------------------------------------------------ seeds


def test_trials_of_one_victim_each_are_counted_together(leaderboard: Leaderboard) -> None:
    trials = [
        backdoor_record({"student": ones, TEACHER: 1}, eligible=1, seed=seed)
        for seed, ones in enumerate([1, 0, 1, 1])
    ]
    (group,) = seed_groups(leaderboard, trials)
    assert AttackSuccess()(group) == Estimate.share(3, 4)
    assert AttackSuccess("source")(group) == Estimate.share(4, 4)
    assert RecoveredAccuracy()(group) == Estimate.share(1, 4)
    assert CleanAccuracy()(group) == Estimate.share(1 + INELIGIBLE, 1 + INELIGIBLE)
    assert InheritanceRatio()(group) is None
    assert InheritanceRatio().why_none(group) == "4 trials"
    assert InheritanceRatio().why_none(alone(trials[0])) == "1 trial"
    assert InheritanceRatio().breakdown(group) == {}
    assert group_verdict(group) == "trials"


def test_the_lowest_seed_stands_for_records_on_the_same_inputs(leaderboard: Leaderboard) -> None:
    records = [backdoor_record({TEACHER: 50, "student": 10 * s}, seed=s) for s in (3, 1, 2)]
    (group,) = seed_groups(leaderboard, [*records, backdoor_record({TEACHER: 19}, seed=9)])
    assert group.seeds == [1, 2, 3, 9]
    assert AttackSuccess()(group) == Estimate.share(10, 100)
    by_seed = AttackSuccess().breakdown(group)
    assert by_seed["seed 3"] == Estimate.share(30, 100)
    ratios = InheritanceRatio().breakdown(group)
    values = [None if estimate is None else estimate.value for estimate in ratios.values()]
    assert list(ratios) == ["seed 1", "seed 2", "seed 3", "seed 9"]
    assert values == [pytest.approx(0.2), pytest.approx(0.4), pytest.approx(0.6), None]
    assert InheritanceRatio()(group) == ratios["seed 1"]


# ---------------------------------------------------------------------------------- poisoning rates


def test_curves_are_in_order_of_the_rate_and_only_where_rates_differ(
    leaderboard: Leaderboard,
) -> None:
    records = [
        backdoor_record({"student": ones, TEACHER: 90}, attack=attack, rate=rate, label=label)
        for attack, rate, label, ones in (
            ("badnets:size=2", 0.1, "ard", 50),
            ("badnets:size=2,rate=0.01", 0.01, "ard", 10),
            ("badnets:rate=0.05,size=2", 0.05, "ard", 20),
            ("badnets:size=3,rate=0.02", 0.02, "ard", 99),  # another trigger is another curve
            ("badnets:size=2", 0.1, "nad", 50),
            ("badnets:size=2,target=0", 0.1, "nad", 50),
        )
    ]
    curves = poisoning_curves(seed_groups(leaderboard, records))
    assert list(curves) == [("badnets:size=2", "ard")]
    (points,) = curves.values()
    assert [(point.rate, point.source.hits, point.student.hits) for point in points] == [
        (0.01, 90, 10),
        (0.05, 90, 20),
        (0.1, 90, 50),
    ]
