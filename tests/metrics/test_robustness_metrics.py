"""Robustness: clean, per-attack, robust and best-known accuracy follow from the bits."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest

from records import PANEL, backdoor_record, evasion_record, evasion_result, first
from robustbench_kd.core.config import EvaluationWarning
from robustbench_kd.core.estimates import Estimate
from robustbench_kd.metrics._best_known import best_known, question
from robustbench_kd.metrics.attack_accuracy import AttackAccuracy
from robustbench_kd.metrics.clean_accuracy import CleanAccuracy
from robustbench_kd.metrics.robust_accuracy import RobustAccuracy
from robustbench_kd.results.groups import SeedGroup
from robustbench_kd.results.record import Bits, Record

EVEN = [n % 2 == 0 for n in range(1000)]


def group(*records: Record) -> SeedGroup:
    return SeedGroup(records)


def test_robust_are_the_inputs_that_survive_every_attack() -> None:
    record = evasion_record("ard", {"clean": 900, "fgsm": 600, "pgd:steps=20": EVEN})
    assert RobustAccuracy()(group(record)) == Estimate.share(300, 1000)
    assert RobustAccuracy().samples(record) == Bits.of(
        [n < 600 and n % 2 == 0 for n in range(1000)]
    )
    assert CleanAccuracy()(group(record)) == Estimate.share(900, 1000)


def test_an_input_that_is_misclassified_without_attack_is_not_robust() -> None:
    record = evasion_record("ard", {"clean": 400, "fgsm": 1000})
    assert RobustAccuracy()(group(record)) == Estimate.share(400, 1000)


def test_accuracy_under_an_attack_is_found_by_its_label_or_its_name() -> None:
    record = evasion_record("ard", {"fgsm": 600, "pgd:steps=20": 500})
    for attack, ones in {"": 600, "fgsm": 600, "pgd": 500, "pgd:steps=20": 500}.items():
        metric = AttackAccuracy(attack=attack)
        assert metric.available(record)
        assert metric(group(record)) == Estimate.share(ones, 1000)
        assert metric.samples(record) == Bits.of(first(ones))
    missing = AttackAccuracy(attack="square")
    assert not missing.available(record)
    assert missing(group(record)) is None
    assert AttackAccuracy(attack="pgd:steps=20").heading == "pgd:steps=20"
    assert AttackAccuracy.per_attack


def test_the_lowest_seed_stands_for_the_group_and_the_others_are_in_the_breakdown() -> None:
    seeds = group(evasion_record(correct=500), evasion_record(correct=700, seed=2))
    assert RobustAccuracy()(seeds) == Estimate.share(500, 1000)
    assert RobustAccuracy().breakdown(seeds) == {
        "seed 0": Estimate.share(500, 1000),
        "seed 2": Estimate.share(700, 1000),
    }
    parts = AttackAccuracy(attack="fgsm").breakdown(seeds)
    assert parts["seed 2"] == Estimate.share(700, 1000)


def test_attacks_on_the_whole_test_set_are_joined_in_the_breakdown() -> None:
    whole = {"clean": evasion_result(9000, 10_000), "fgsm": evasion_result(8000, 10_000)}
    parts = RobustAccuracy().breakdown(group(evasion_record(full_test=whole)))
    assert parts["full test"] == Estimate.share(8000, 10_000)


def test_records_of_poisoned_data_have_no_robust_accuracy() -> None:
    assert RobustAccuracy().available(evasion_record())
    assert not RobustAccuracy().available(backdoor_record())
    assert not AttackAccuracy(attack="fgsm").available(backdoor_record())


# ------------------------------------------------------------------------------------- best known


def attacked(attacks: int, correct: list[bool], **fields: object) -> Record:
    """A record of the network ``w`` under the first so many attacks of the panel."""
    columns = dict.fromkeys(PANEL[1:attacks], correct)
    return evasion_record("a", {"clean": first(900), **columns}, weights="w", **fields)


def test_best_known_is_the_bitwise_and_and_says_which_record_broke_what_first() -> None:
    long, short = attacked(5, first(600)), attacked(2, EVEN)
    again = replace(long, compute={"cpu_seconds": 9.0})
    (best,) = best_known([long, short, long, again]).values()
    assert best.share == Estimate.share(300, 1000)
    assert best.first == {long.id: 300, short.id: 300}
    (other,) = best_known([short, long]).values()
    assert other.share == best.share
    assert other.first == {short.id: 450, long.id: 150}


@pytest.mark.parametrize(
    "fields",
    [
        {"threat": {"eps": 0.2}},
        {"data": {"examples": "y"}},
        {"data": {"ids": "j"}},
        {"warnings": (EvaluationWarning.OVER_BUDGET.value,)},
    ],
    ids=["ball", "images", "ids", "over budget"],
)
def test_flags_about_another_question_are_not_joined(fields: dict[str, object]) -> None:
    assert len(best_known([attacked(5, first(600)), attacked(2, first(10))])) == 1
    assert best_known([attacked(5, first(600)), attacked(2, first(10), **fields)]) == {}


def test_networks_of_users_are_joined_only_if_their_clean_answers_agree() -> None:
    mark = {"student": {"user_model": True}}
    first_record = evasion_record("own", 600, clean=900, weights="w", models=mark)
    same = evasion_record("own", 500, clean=900, weights="w", models=mark)
    other = evasion_record("own", 500, clean=901, weights="w", models=mark)
    assert list(best_known([first_record, same])) == [question(first_record)]
    assert best_known([first_record, other]) == {}


# ------------------------------------------------------------------------------------------ torch


def test_no_metric_loads_torch_when_it_is_imported() -> None:
    """Rankings are shown without it; only the interval of inheritance ratios needs it."""
    code = (
        "import sys\n"
        "from robustbench_kd.core.registry import entries\n"
        "names = [entry.load().name for entry in entries('metrics').values()]\n"
        "assert len(names) > 5, names\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
