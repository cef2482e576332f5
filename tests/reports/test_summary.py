"""The first lines of a leaderboard, and accuracy by class: what stands out, and what means hide."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
import torch
from board_pages import board_records, texts
from joint_records import joint_record

from records import backdoor_record, evasion_record, first, text_to_image_record
from robustbench_kd.core.paths import shipped
from robustbench_kd.core.registry import board_of
from robustbench_kd.ops.statistics.power import power
from robustbench_kd.reports.document import Block, BoardRecords
from robustbench_kd.reports.loading import load_boards
from robustbench_kd.reports.sections.adversarial_examples import clean_images
from robustbench_kd.reports.sections.per_class import class_accuracies, classes
from robustbench_kd.reports.sections.summary import summary as summary_section
from robustbench_kd.results.record import CLEAN, Record

TEACHER = evasion_record("teacher", 800, weights="t")
BEST = evasion_record("trained", 700, clean=900)
BEST = replace(BEST, models={"student": BEST.student})  # without a teacher
HEIR = evasion_record("heir", [100 <= n < 700 for n in range(1000)], clean=950)
OTHER = evasion_record("other", 400, clean=990)


def summary(*records: Record, board: str = "fashion-linf") -> list[dict[str, str]]:
    """The lines of the table, by heads."""
    block = summary_section(board_records(*records, board=board_of(board)))
    assert block is not None
    return texts(block.tables[0])


def by_what(*records: Record) -> dict[str, dict[str, str]]:
    return {line["what"]: line for line in summary(*records)}


# ------------------------------------------------------------------------------- attacks on inputs


def test_rows_that_stand_out_are_paired_with_another() -> None:
    lines = by_what(OTHER, BEST, HEIR)
    best = lines["most robust"]
    assert (best["defense"], best["share"]) == ("trained", "70.0 [67.1, 72.8]")
    assert best["beside"] == "heir"
    assert best["points above it"].startswith("10.0 [8.")  # 100 lost and none won of 1,000
    distilled = lines["most robust with a teacher, beside the best without"]
    assert (distilled["defense"], distilled["beside"]) == ("heir", "trained")
    assert distilled["points above it"].startswith("-10.0 [-12.")
    accurate = lines["most accurate, beside the most robust"]
    assert (accurate["defense"], accurate["share"]) == ("other", "99.0 [98.2, 99.5]")
    assert (accurate["beside"], accurate["points above it"]) == ("trained", "9.0 [7.4, 10.9]")
    assert "least costly, beside the most robust" not in lines  # all have one size


def test_a_student_is_compared_with_the_teacher_that_it_kept_most_of() -> None:
    line = by_what(TEACHER, BEST, HEIR, OTHER)["nearest to its teacher, beside the teacher"]
    assert (line["defense"], line["beside"]) == ("heir", "teacher")  # 600 of 800 kept against 400
    assert line["points above it"].startswith("-20.0 [")


def test_a_smaller_student_is_shown_beside_the_best() -> None:
    small = evasion_record("small", 300, models={"student": {"macs": 7}})
    line = by_what(BEST, OTHER, small)["least costly, beside the most robust"]
    assert (line["defense"], line["share"]) == ("small", "30.0 [27.2, 32.9]")
    assert line["beside"] == "trained"


@pytest.mark.parametrize("other", [(), (evasion_record("warned", 999, warnings=("masked",)),)])
def test_a_single_row_without_warnings_makes_no_summary(other: tuple[Record, ...]) -> None:
    assert summary_section(board_records(BEST, *other)) is None


def test_the_paragraph_says_which_difference_so_many_images_can_show() -> None:
    records = (
        evasion_record("a", 600),
        evasion_record("b", [20 <= n < 610 for n in range(1000)]),  # 20 lost, 10 won
    )
    block = summary_section(board_records(*records))
    assert block is not None
    (number,) = re.findall(r"a difference of ([\d.]+) points", block.paragraphs[0])
    least, most = (float(number) - 0.06) / 100, (float(number) + 0.06) / 100  # rounded to a tenth
    assert power(1000, most, 0.01) >= 0.8 > power(1000, least, 0.01)  # 1 % change each way


# ------------------------------------------------------------------------ attacks on training data


def test_every_attack_has_its_best_and_its_worst_row() -> None:
    good = backdoor_record({"teacher-clean": 90, "student": 10, "control": 1}, label="good")
    middle = backdoor_record({"teacher-clean": 85, "student": 20}, label="middle")
    bad = backdoor_record({"teacher-clean": 80, "student": 60}, label="bad")
    alone = backdoor_record({"teacher-clean": 90}, attack="blend")
    lines = summary(bad, good, middle, alone, board="digits-backdoor")
    assert [(line["attack"], line["what"], line["defense"]) for line in lines] == [
        ("badnets:size=2", "best", "good"),
        ("badnets:size=2", "worst", "bad"),
    ]
    starts = [
        [line[head].partition(" ")[0] for head in ("ASR of student", "ASR of source")]
        for line in lines
    ]
    assert starts == [["10.0", "90.0"], ["60.0", "80.0"]]
    assert lines[0]["ASR of control"].startswith("1.0 [")
    assert lines[0]["clean accuracy"].startswith("100.0 [")
    board = board_records(good, alone, board=board_of("digits-backdoor"))
    assert summary_section(board) is None  # no attack with two rows


def repaired(label: str, removed: int, **fields: Any) -> Record:
    works = {"attack_success": 95, "removed": 3}
    return text_to_image_record(
        {"teacher-given": works, "student": {"removed": removed}}, label=label, **fields
    )


def test_where_the_best_knows_the_trigger_the_best_that_does_not_stands_beside_it() -> None:
    records = (
        repaired("clean-model-oracle", 80, oracle=True),
        repaired("skd-cag", 60),
        repaired("t2i-fine-tuning", 40),
    )
    lines = summary(*records, board="t2i-backdoor")
    assert [(line["what"], line["defense"]) for line in lines] == [
        ("best", "clean-model-oracle"),
        ("best that is no oracle", "skd-cag"),
        ("worst", "t2i-fine-tuning"),
    ]


def test_a_repair_of_a_trigger_that_never_worked_does_not_stand_out() -> None:
    failed = {"teacher-given": {"attack_success": 30}, "student": {"removed": 99}}
    records = repaired("skd-cag", 60), repaired("concept-erasure", 40)
    best, *_ = summary(
        *records, text_to_image_record(failed, label="t2i-fine-tuning"), board="t2i-backdoor"
    )
    assert best["defense"] == "skd-cag"


def privacy(label: str, rank: float, nats: float, **fields: Any) -> Record:
    """A student that gives every canary this rank, at so many nats on each test row."""
    losses = {"student": [nats, nats + 1, nats - 1, nats]}
    return joint_record(label, [rank] * 12, test_nll=losses, **fields)


def test_what_hides_most_is_shown_at_any_cost_and_at_a_small_one() -> None:
    hidden = privacy("dp-sgd", 500, 190)
    oracle = privacy("swing:scorer=oracle", 900, 128, defense={"oracle": True})
    records = (
        privacy("distillation:temperature=1", 2, 128),
        hidden,
        privacy("swing", 100, 129),  # 1.6 % more perplexity
        privacy("swing:peak=2", 10, 128.2),
        oracle,
    )
    lines = summary(*records, board="text-privacy")
    assert [(line["what"], line["defense"]) for line in lines] == [
        ("best", "dp-sgd"),
        ("oracle, not ranked", "swing:scorer=oracle"),
        ("best at a perplexity increase of at most 2 %", "swing"),
        ("smallest perplexity increase", "swing:peak=2"),
        ("worst", "distillation:temperature=1"),
    ]
    assert [line["perplexity increase"].partition(" ")[0] for line in lines] == [
        "163.5",  # exp((190 - 128) / 64) - 1
        "0.0",
        "1.6",
        "0.3",
        "reference",
    ]


@pytest.mark.parametrize("name", ["fashion-backdoor", "text-privacy", "text-bias", "t2i-backdoor"])
def test_best_rows_are_those_of_the_ranking(name: str) -> None:
    (board,) = load_boards([], name).boards
    column = board.ranking.rank_by
    values: dict[str, list[float]] = {}
    for row in board.ranking.rows:
        estimate = row.estimate(column)
        assert estimate is not None
        values.setdefault(row.attack if board.by_attack else "", []).append(estimate.value)
    best = max if column.metric.higher_is_better else min
    lines = summary(*board.records, board=board.leaderboard.name)
    lines = [line for line in lines if line["what"] == "best"]
    assert lines
    scale = 100 if column.metric.unit == "percent" else 1
    for line in lines:
        value = float(line[column.metric.heading].partition(" ")[0])
        assert value == pytest.approx(scale * best(values[line.get("attack", "")]), abs=0.051)


# ------------------------------------------------------------------------------------------ classes


@pytest.fixture(scope="module")
def committed() -> BoardRecords:
    places = sorted((shipped("records") / "fashion-linf").glob("ard--seed*.json"))
    (board,) = load_boards(places).boards
    return board


def test_classes_add_up_to_the_whole(committed: BoardRecords) -> None:
    assert committed.records
    for record in committed.records:
        classes = class_accuracies(committed, record)
        assert [value.place for value in classes] == list(range(10))
        assert sum(value.clean.hits or 0 for value in classes) == record.clean.hits
        assert sum(value.robust.hits or 0 for value in classes) == record.worst.hits
        assert sum(value.robust.count for value in classes) == record.worst.count


def test_a_class_is_counted_by_the_labels_of_its_images(committed: BoardRecords) -> None:
    record = committed.records[0]
    clean = clean_images(committed, record)
    assert clean is not None
    bags = clean.targets == 8
    value = class_accuracies(committed, record)[8]
    correct = torch.tensor(record.bits(CLEAN, "student", "correct").flags)
    assert (value.clean.hits, value.clean.count) == (int(correct[bags].sum()), int(bags.sum()))
    assert value.robust.hits == int(torch.tensor(record.robust.flags)[bags].sum())


def test_the_map_of_classes_calls_them_by_name_and_says_where_there_is_none(
    committed: BoardRecords,
) -> None:
    block = classes(committed)
    assert isinstance(block, Block)
    assert block.tables[0].heads[1:4] == ("T-shirt or top", "trouser", "pullover")
    elsewhere = board_records(evasion_record("a", first(600)))  # of images that are not here
    assert str(classes(elsewhere)).startswith("accuracy by class: the images")


def test_the_most_robust_student_is_the_first_of_the_ranking() -> None:
    (board,) = load_boards([], "fashion-linf").boards
    line, *_ = summary(*board.records)
    assert line["defense"] == board.ranking.rows[0].label
