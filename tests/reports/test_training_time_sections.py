"""Sections about attacks on training data: numbers that follow from the bits, by hand here."""

from __future__ import annotations

import re
from io import BytesIO
from math import log2
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from board_pages import board_records, texts
from joint_records import PANEL
from PIL import Image

from records import (
    backdoor_record,
    bias_record,
    canary_record,
    evasion_record,
    scored_record,
    text_to_image_record,
)
from robustbench_kd.core.errors import BadRecord
from robustbench_kd.core.paths import shipped
from robustbench_kd.core.registry import board_of
from robustbench_kd.reports.document import Block, BoardRecords
from robustbench_kd.reports.loading import load_boards
from robustbench_kd.reports.sections.adversarial_examples import clean_images
from robustbench_kd.reports.sections.backdoor_transfer import transfer
from robustbench_kd.reports.sections.memorization import memorization, memorization_of_row
from robustbench_kd.reports.sections.poisoning_page import every_model, every_seed
from robustbench_kd.reports.sections.poisoning_rate import curves_by_attack, poisoning_rates
from robustbench_kd.reports.sections.triggered_inputs import inputs_by_attack, triggered_inputs
from robustbench_kd.results.record import Record

INHERITED = {"teacher-clean": 90, "teacher-clean.clean": 10, "student": 50, "student.clean": 10}


def backdoors(*records: Record, **fields: Any) -> BoardRecords:
    return board_records(*records, board=board_of("digits-backdoor"), **fields)


def at_rate(rate: float, student: int, attack: str = "badnets:rate={}") -> Record:
    success = {"teacher-clean": 90, "student": student}
    return backdoor_record(success, attack=attack.format(rate), rate=rate)


def table_of(block: Block | str | None, place: int = 0) -> list[dict[str, str]]:
    assert isinstance(block, Block)
    return texts(block.tables[place])


# --------------------------------------------------------------------------------- poisoning rates


def test_a_curve_over_poisoning_rates_is_in_their_order() -> None:
    board = backdoors(at_rate(0.1, 60), at_rate(0.01, 3), at_rate(0.05, 30))
    curves = curves_by_attack(board)
    (points,) = curves["badnets"].values()
    assert [(p.rate, p.student.hits, p.source.hits) for p in points] == [
        (0.01, 3, 90),
        (0.05, 30, 90),
        (0.1, 60, 90),
    ]
    rows = table_of(poisoning_rates(board))
    assert [row["poisoned, %"] for row in rows] == ["1", "5", "10"]
    assert rows[1]["attack success of student"] == "30.0 [21.9, 39.6]"


def test_attacks_that_differ_in_more_than_the_rate_have_no_common_curve() -> None:
    board = backdoors(at_rate(0.1, 60), at_rate(0.01, 3, "badnets:rate={},size=2"))
    assert curves_by_attack(board) == {}
    assert str(poisoning_rates(board)).startswith("poisoning rates: no attack")


def test_rates_of_bias_are_drawn_too_and_removal_is_not() -> None:
    records = [
        bias_record(
            {"student": hits, "teacher-clean": 60},
            attack=f"bias-injection:rate={rate}",
            poison={"count": round(3000 * rate)},
        )
        for rate, hits in ((0.02, 10), (0.1, 40))
    ]
    rows = table_of(poisoning_rates(board_records(*records, board=board_of("text-bias"))))
    assert [row["bias rate of student"].partition(" ")[0] for row in rows] == ["10.0", "40.0"]
    assert (
        poisoning_rates(board_records(text_to_image_record(), board=board_of("t2i-backdoor")))
        is None
    )
    assert poisoning_rates(board_records(evasion_record())) is None


# -------------------------------------------------------------------------------- source to student


def test_an_arrow_is_drawn_for_every_attack_and_defense() -> None:
    records = (
        backdoor_record(INHERITED, label="distillation"),
        backdoor_record(INHERITED, label="nad"),
        backdoor_record(INHERITED, attack="blend"),
    )
    block = transfer(backdoors(*records))
    assert isinstance(block, Block)
    (figure,) = block.figures
    for name in (b"badnets:size=2 &gt; nad", b"blend &gt; distillation", b"clean counterpart"):
        assert name in figure.svg
    assert transfer(board_records(evasion_record())) is None


# ---------------------------------------------------------------------------------- page of a row


def test_every_model_has_a_column_and_the_source_is_marked() -> None:
    board = backdoors(backdoor_record(INHERITED, correct={"control": 55}))
    success, recovered, clean = table_of(every_model(board, board.rows[0]))
    assert success["metric"] == "ASR"
    assert success["teacher-clean (source)"] == "90.0 [82.6, 94.5]"
    assert success["unpoisoned student"].startswith("10.0 [")
    assert (success["unit"], success["samples"]) == ("percent", "100")
    assert recovered["student"].startswith("50.0 [")
    assert (clean["metric"], clean["samples"]) == ("clean accuracy", "110")
    assert clean["control"].startswith("50.0 [")


def test_what_a_second_oracle_classifier_decides_has_rows_of_its_own() -> None:
    record = text_to_image_record({"student": {"clean_correct_2": 71, "clean_correct": 75}})
    board = board_records(record, board=board_of("t2i-backdoor"))
    rows = {row["metric"]: row for row in table_of(every_model(board, board.rows[0]))}
    assert rows["utility"]["student"].startswith("75.0 [")
    assert rows["utility, second oracle"]["student"].startswith("71.0 [")
    assert "trigger shift" in rows


def test_a_page_about_attacks_on_test_data_has_no_such_tables() -> None:
    board = board_records(evasion_record())
    sections = (every_model, every_seed, memorization_of_row)
    assert [section(board, board.rows[0]) for section in sections] == [None, None, None]


def test_every_seed_has_its_ratio_or_why_there_is_none() -> None:
    seeds = (
        backdoor_record(INHERITED, seed=0),
        backdoor_record({"teacher-clean": 12, "student": 50}, seed=1),
    )
    board = backdoors(*seeds)
    rows = table_of(every_seed(board, board.rows[0]))
    assert [row["seed"] for row in rows] == ["0", "1"]
    assert rows[0]["inheritance ratio"].startswith("0.50 [")  # (50 - 10) / (90 - 10)
    assert rows[1]["inheritance ratio"] == "dormant"
    single = backdoors(seeds[0])
    assert every_seed(single, single.rows[0]) is None


def test_trials_of_one_victim_each_are_listed_without_a_ratio() -> None:
    trials = [
        backdoor_record({"teacher-clean": 1, "student": n % 2}, eligible=1, seed=n)
        for n in range(4)
    ]
    board = backdoors(*trials)
    rows = table_of(every_seed(board, board.rows[0]))
    assert [row["ASR of student"].partition(" ")[0] for row in rows] == ["0.0", "100.0"] * 2
    assert {row["samples"] for row in rows} == {"1"}
    assert "inheritance ratio" not in rows[0]


# ------------------------------------------------------------------------------------- memorization


def test_exposure_is_shown_by_repetitions_and_for_each_model() -> None:
    record = canary_record(
        {"student": [500, 500, 10, 10], "teacher-clean": [250, 250, 1, 1]},
        repetitions=[0, 0, 8, 8],
        formats=["digits", "digits", "digits", "words"],
        attack="canary-exposure",
    )
    board = board_records(record, board=board_of("text-privacy"))
    (row,) = table_of(memorization(board))
    assert row["defense"] == record.label
    assert row["inserted 0 times"].startswith("1.0 [")  # log2(1000 / 500)
    assert row["inserted 8 times"].startswith(f"{log2(100):.1f} [")
    assert row["canaries each"] == "2"
    block = memorization_of_row(board, board.rows[0])
    by_format, by_repetitions = table_of(block), table_of(block, 1)
    teacher = {row["model"]: row for row in by_format}["teacher-clean"]
    assert teacher["words"].startswith(f"{log2(1000):.1f} [")
    teacher = {row["model"]: row for row in by_repetitions}["teacher-clean"]
    assert teacher["inserted 0 times"].startswith("2.0 [")


def privacy_record() -> Record:
    """Five canaries, of which greedy decoding extracts some, and scores of membership."""
    ranks = (1.0,) * 5
    extracted = {
        "teacher-clean": [1, 1, 1, 1, 0],
        "control": [1, 1, 0, 0, 0],
        "student": [1, 0, 1, 0, 1],
    }
    scores = {"student": [4, 2, 3, 1], "control": [1, 2, 3, 4], "teacher-clean": [4, 3, 2, 1]}
    canaries, extraction, membership = PANEL
    return scored_record(
        {
            canaries: {
                role: {"rank": ranks, "candidates": (1000.0,) * 5, "score": (-1.0,) * 5}
                for role in extracted
            },
            extraction: {
                role: {"extracted": [float(flag) for flag in flags], "score": (-1.0,) * 5}
                for role, flags in extracted.items()
            },
            membership: {role: {"score": values} for role, values in scores.items()},
        },
        {membership: {"repetitions": [1, 1, 0, 0], "format": ["text"] * 4}},
    )


def test_what_was_inherited_is_counted_among_what_the_source_alone_memorized() -> None:
    block = memorization(board_records(privacy_record(), board=board_of("text-privacy")))
    (row,) = table_of(block, 1)
    memorized = [row[name].partition(" ")[0] for name in ("source", "control", "student")]
    assert memorized == ["80.0", "40.0", "60.0"]
    assert (row["canaries"], row["of the source's alone"], row["of the student's"]) == (
        "5",
        "2",  # the third and the fourth
        "3",
    )
    assert row["inherited"].startswith("50.0 [")  # the third
    assert row["easy"].startswith("33.3 [")  # the first


def test_membership_is_shown_for_each_method_that_was_scored() -> None:
    board = board_records(privacy_record(), board=board_of("text-privacy"))
    rows = table_of(memorization_of_row(board, board.rows[0]), 3)
    areas = {(row["model"], row["method"]): row["AUC"].partition(" ")[0] for row in rows}
    assert areas == {
        ("student", "loss"): "0.75",  # members at 4 and 2, others at 3 and 1
        ("control", "loss"): "0.00",
        ("teacher-clean", "loss"): "1.00",
    }


def test_exposure_is_drawn_against_perplexity_where_both_were_measured() -> None:
    block = memorization(board_records(privacy_record(), board=board_of("text-privacy")))
    assert isinstance(block, Block)
    (figure,) = block.figures
    assert b"distillation:temperature=1" in figure.svg
    assert (
        memorization(board_records(bias_record({"student": 1}), board=board_of("text-bias")))
        is None
    )


# -------------------------------------------------------------------------------- submitted inputs


def committed_badnets() -> BoardRecords:
    (path,) = (shipped("records") / "fashion-backdoor").glob("badnets--distillation--*.json")
    (board,) = load_boards([path]).boards
    return board


def pixels(png: bytes) -> Any:
    return np.asarray(Image.open(BytesIO(png))).astype(int)


def test_submitted_inputs_are_shown_with_the_outcome_on_source_and_student() -> None:
    board = committed_badnets()
    (record,) = board.records
    strips = triggered_inputs(board, record, 3)
    again = committed_badnets()
    assert strips == triggered_inputs(again, again.records[0], 3)
    assert len({strip.caption for strip in strips}) == 3
    clean, eligible = clean_images(board, record), record.attacks["badnets"].eligible
    assert clean is not None
    assert eligible is not None
    ids = clean.ids[torch.tensor(eligible.flags)].tolist()
    source = record.bits("badnets", "teacher-clean", "attack_success").flags
    student = record.bits("badnets", "student", "attack_success").flags
    assert any(student)
    for strip in triggered_inputs(board, record, len(ids)):
        sample, *outcome = re.findall(
            r"sample (\d+), .*; success: source (yes|no), student (yes|no)", strip.caption
        )[0]
        place = ids.index(int(sample))
        assert [word == "yes" for word in outcome] == [source[place], student[place]]
    for strip in strips:
        original, _, given = (pixels(png) for _, png in strip.images)
        rows, columns = np.nonzero(np.abs(given - original))
        assert 0 < np.ptp(rows) <= 3  # a patch, and nothing elsewhere
        assert 0 < np.ptp(columns) <= 3
        assert "target T-shirt or top" in strip.caption


def test_inputs_that_are_not_stored_are_listed_as_missing_and_damaged_ones_refused(
    tmp_path: Path,
) -> None:
    board = committed_badnets()
    (entry,) = board.entries
    path = tmp_path / "fashion-backdoor" / entry.path.name
    path.parent.mkdir()
    path.write_bytes(entry.path.read_bytes())
    (alone,) = load_boards([path]).boards
    assert str(inputs_by_attack(alone)).startswith("submitted inputs: none are stored")
    path.with_suffix(".safetensors").write_bytes(b"something else")
    with pytest.raises(BadRecord, match="is not the evidence that"):
        inputs_by_attack(alone)
