"""Snapshots: which column of which record is compared, and in which direction."""

from __future__ import annotations

from dataclasses import replace

import pytest

from records import (
    PANEL,
    Flags,
    backdoor_record,
    bias_record,
    bits,
    canary_record,
    evasion_record,
    first,
    membership_record,
    scored_record,
    text_to_image_record,
)
from robustbench_kd.core.aliases import stable_label
from robustbench_kd.core.errors import NotComparable
from robustbench_kd.core.registry import board_of, entries
from robustbench_kd.regression.snapshot import TEST_NLL, snapshot
from robustbench_kd.results.record import Bits, Record, digest
from robustbench_kd.results.store import take_inventory

RECORDS = {
    "robust-accuracy": evasion_record("ard", 700),
    "attack-success": backdoor_record({"student": 90}),
    "exposure": canary_record({"student": (1, 500, 1000)}),
    "bias-rate:prompts=poisoned": bias_record({"student": 40}, formats=["repeat"] * 100),
    "joint-removal": text_to_image_record({"student": {"removed": 70, "preserved": 90}}),
}


@pytest.mark.parametrize("metric", RECORDS)
def test_the_primary_endpoint_is_the_metric_that_the_leaderboard_ranks_by(metric: str) -> None:
    shot = snapshot(RECORDS[metric])
    assert shot.primary_name == board_of(RECORDS[metric].board).rank_by == metric
    assert shot.primary.higher_is_better == (metric in ("robust-accuracy", "joint-removal"))


def test_an_image_is_robust_where_it_survives_every_attack_and_each_attack_is_an_endpoint() -> None:
    flags: dict[str, Flags] = {"fgsm": 700, "pgd:steps=20": [n % 2 == 0 for n in range(1000)]}
    shot = snapshot(evasion_record("ard", flags, clean=600))
    assert shot.primary.estimate.hits == 300
    assert shot.utility is not None
    assert shot.utility.estimate.hits == 600
    attacks = {name: end for name, end in shot.endpoints.items() if end.role == "attack"}
    assert {name: end.estimate.hits for name, end in attacks.items()} == {
        "fgsm": 700,
        "pgd:steps=20": 500,
    }
    assert shot.name == "fashion-linf/ard@0"


def test_a_backdoor_that_succeeds_is_a_bit_that_speaks_against_the_student() -> None:
    shot = snapshot(RECORDS["attack-success"])
    assert shot.primary.estimate.hits == 90
    assert sum(shot.primary.favourable) == 10
    assert shot.name == "digits-backdoor/badnets:size=2/distillation@0"
    assert shot.utility is not None
    assert (shot.utility.count, shot.utility.metric) == (110, "clean-accuracy")


def test_exposure_is_a_number_of_bits_for_each_canary_that_was_inserted() -> None:
    record = canary_record(
        {"student": (1, 250, 1000, 1)}, repetitions=(1, 4, 16, 0), candidates=1000
    )
    shot = snapshot(record)
    assert shot.primary.values == pytest.approx((9.96578, 2.0, 0.0))
    assert (shot.primary.unit, shot.primary.margin) == ("bits", 0.5)
    assert str(shot.primary).endswith("] bits")
    assert shot.name == "text-privacy/canary-exposure/distillation:temperature=1@0"


def test_the_utility_of_a_language_model_is_its_loss_on_each_row_in_nats_a_token() -> None:
    record = canary_record(
        {"student": (1, 2)},
        test_nll={"student": (30.0, 90.0)},
        test_samples={"tokens": [10, 30], "bytes": [9, 9], "format": ["text"] * 2},
    )
    utility = snapshot(record).utility
    assert utility is not None
    assert (utility.metric, utility.unit, utility.higher_is_better) == (TEST_NLL, "nats", False)
    assert utility.values == (1.5, 4.5)  # nats over the mean number of tokens
    assert utility.estimate.value == (30 + 90) / (10 + 30)


def test_the_utility_of_a_text_to_image_model_is_what_it_draws_of_clean_prompts() -> None:
    utility = snapshot(text_to_image_record({"student": {"clean_correct": 60}})).utility
    assert utility is not None
    assert (utility.metric, utility.estimate.hits) == ("utility", 60)


def test_attacks_on_one_training_set_are_one_student() -> None:
    canaries = canary_record({"student": (1, 2)})
    members = membership_record({"student": (0.1, 0.2)}, (True, False))
    both = replace(canaries, attacks={**canaries.attacks, **members.attacks})
    assert snapshot(both).name == "text-privacy/distillation:temperature=1@0"
    # Who was a member is drawn anew for each seed; which canaries there are is not.
    other = membership_record({"student": (0.1, 0.2)}, (False, True))
    again = replace(both, attacks={**both.attacks, **other.attacks})
    assert snapshot(again).primary.settings == snapshot(both).primary.settings


def test_a_record_without_the_ranking_metric_has_nothing_to_compare() -> None:
    record = membership_record({"student": (0.1, 0.2)}, (True, False))
    with pytest.raises(NotComparable, match=r"no value a sample of exposure.*own attacks"):
        snapshot(record)


def test_a_renamed_setting_is_the_same_setting() -> None:
    label = PANEL[-1]
    assert stable_label("attacks", label) == "autoattack:form=lean"
    record = evasion_record("ard", {label: 500})
    old = digest(["autoattack:form=lean", {"eps": 0.1}])[:12]
    assert snapshot(record).endpoints[label].settings == old


def test_other_eligible_inputs_are_other_samples() -> None:
    record = backdoor_record({"student": 40})
    label = record.attack_labels[0]
    moved = replace(record.attacks[label], eligible=bits([False] * 10 + first(100, 100)))
    other = replace(record, attacks={**record.attacks, label: moved})
    assert snapshot(record).primary.settings != snapshot(other).primary.settings


def test_numbers_are_better_low_and_their_loss_is_a_rise() -> None:
    old, new = (snapshot(canary_record({"student": r}, candidates=1024)) for r in ((4, 2), (2, 4)))
    assert old.primary.losses(new.primary) == pytest.approx((1.0, -1.0))
    text = scored_record({"canary-exposure": {"student": {"rank": (1,), "candidates": (8,)}}})
    assert not snapshot(text).primary.higher_is_better


@pytest.mark.parametrize("board", list(entries("leaderboards")))
def test_every_committed_record_can_be_compared(board: str) -> None:
    records: list[Record] = list(take_inventory(None, board).records.values())
    for record in records:
        shot = snapshot(record)
        assert shot.primary.count > 0
        assert shot.utility is not None
        assert shot.utility.count <= record.data["count"]
        assert isinstance(shot.primary.values, Bits) == (shot.primary.unit == "percent") or (
            shot.primary.metric.startswith("bias-rate")
        )
