"""What the sections say: numbers that are read off the bits of records, by hand in the tests."""

from __future__ import annotations

import re
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from board_pages import board_records, section_block, texts
from PIL import Image

from records import (
    backdoor_record,
    bias_record,
    canary_record,
    evasion_record,
    text_to_image_record,
)
from robustbench_kd.core.errors import BadRecord, UnknownName
from robustbench_kd.core.paths import shipped
from robustbench_kd.core.registry import board_of
from robustbench_kd.core.seed import Seed
from robustbench_kd.evaluation.entries import scenario_of
from robustbench_kd.leaderboards.digits_backdoor import DIGITS_BACKDOOR
from robustbench_kd.leaderboards.text_privacy import TEXT_PRIVACY
from robustbench_kd.reports import sections as section_package
from robustbench_kd.reports.document import (
    Block,
    BoardRecords,
    Section,
    Table,
    share_cell,
    text_cell,
)
from robustbench_kd.reports.html_page import board_report
from robustbench_kd.reports.loading import load_boards
from robustbench_kd.reports.paired_tables import bits_cells
from robustbench_kd.reports.sections import sections
from robustbench_kd.reports.sections.adversarial_examples import adversarial_examples
from robustbench_kd.reports.sections.attack_breakdown import broken_by_one, first_breakers
from robustbench_kd.reports.sections.robustness_curve import by_radius
from robustbench_kd.reports.sections.robustness_transfer import (
    TeacherPair,
    outcomes,
    teacher_pairs,
)
from robustbench_kd.reports.sections.sanity_checks import missed_by_last
from robustbench_kd.reports.sections.tradeoffs import pareto_front
from robustbench_kd.results.record import Bits, Record
from robustbench_kd.results.store import save_record

RECORDS = {
    "fashion-linf": evasion_record("ard", 600, count=1000),
    "digits-backdoor": backdoor_record({"teacher-clean": 90, "student": 30}),
    "text-privacy": canary_record({"student": [1, 2, 900], "teacher-clean": [1, 1, 1]}),
    "text-bias": bias_record({"student": 20, "teacher-clean": 60}),
    "t2i-backdoor": text_to_image_record({"student": {"attack_success": 10}}),
}


@pytest.mark.parametrize("name", RECORDS)
def test_every_kind_of_record_has_a_ranking_and_a_page_for_its_row(name: str) -> None:
    board = board_records(RECORDS[name], board=board_of(name), row_pages=True)
    block = section_block(board, "ranking")
    assert block is not None
    (row,) = texts(block.tables[0])
    assert row["defense"].startswith(RECORDS[name].label)
    (page,) = section_package.pages(board)
    assert {"Summary", "Provenance"} <= {title for title, _ in page.blocks}
    assert board.href(board.rows[0]) == f"{page.slug}.html"


@pytest.mark.parametrize("name", RECORDS)
def test_the_numbers_of_the_ranking_are_those_of_the_metrics(name: str) -> None:
    board = board_records(RECORDS[name], board=board_of(name))
    block = section_block(board, "ranking")
    assert block is not None
    (ranked,) = board.rows
    (row,) = block.tables[0].rows
    cells = dict(zip(block.tables[0].heads, row, strict=True))
    estimates = [(c.metric.heading, ranked.estimate(c)) for c in ranked.columns]
    assert any(estimate is not None for _, estimate in estimates)
    for heading, estimate in estimates:
        assert cells[heading].estimate == estimate
        assert cells[heading].key == (estimate.value if estimate else None)


def test_what_the_records_cannot_show_is_listed_with_the_reason() -> None:
    missing = board_report(board_records(evasion_record("a", 600))).missing
    assert any("more than one radius" in reason for reason in missing)
    assert any("only one row" in reason for reason in missing)
    assert any("adversarial examples" in reason for reason in missing)
    report = board_report(board_records(RECORDS["digits-backdoor"], board=DIGITS_BACKDOOR))
    assert not {"curve", "checks", "examples"} & {s.key.rpartition("-")[2] for s in report.sections}
    assert not any("eps" in reason for reason in report.missing)


def test_a_reduced_run_is_shown_with_its_reason_and_without_a_rank() -> None:
    reduced = evasion_record("a", 5, count=10, limit=10)
    block = section_block(board_records(reduced), "ranking")
    assert block is not None
    (row,) = texts(block.tables[0])
    assert row["rank"] == "not ranked"
    assert row["remarks"] == "not ranked: a reduced run: the first 10 test samples only"


def test_rows_of_several_attacks_are_named_by_attack_and_defense() -> None:
    rates = [backdoor_record(attack=f"badnets:rate={rate}") for rate in (0.01, 0.05)]
    board = board_records(*rates, board=DIGITS_BACKDOOR, row_pages=True)
    titles = [page.title for page in section_package.pages(board)]
    assert "badnets:rate=0.05 on distillation" in titles
    block = section_block(board, "ranking")
    assert block is not None
    assert block.tables[0].heads[block.tables[0].row_head] == "defense"
    joint = board_records(RECORDS["text-privacy"], board=TEXT_PRIVACY)
    assert [page.title for page in section_package.pages(joint)] == [RECORDS["text-privacy"].label]


def test_a_figure_names_as_many_rows_as_can_be_read_and_tables_hold_all() -> None:
    many = [evasion_record(f"s{n}", 300 + n, clean=999 - n) for n in range(60)]
    blocks = {
        section.key.rpartition("-")[2]: section.block
        for section in board_report(board_records(*many)).sections
    }
    for name in ("heatmap", "breakdown", "tradeoffs"):
        assert "Only the first 48 of 60 are drawn." in blocks[name].figures[0].description, name
    assert len(blocks["heatmap"].tables[0].rows) == 60
    assert blocks["heatmap"].figures[0].svg.count(b"s59") == 1
    assert b">s0<" not in blocks["heatmap"].figures[0].svg
    few = section_block(board_records(*many[:48]), "heatmap")
    assert few is not None
    assert "Only the first" not in few.figures[0].description


def test_sections_stand_in_order_and_each_has_a_name_of_its_own() -> None:
    everything = sections()
    assert [section.order for section in everything] == sorted(s.order for s in everything)
    assert len({section.name for section in everything}) == len(everything)


def test_a_new_section_is_one_more_file(monkeypatch: pytest.MonkeyPatch) -> None:
    def build(board: BoardRecords) -> Block:
        row = (text_cell("all"), share_cell(board.records[0].worst))
        return Block(tables=(Table("New", ("what", "share"), (row,)),))

    module = SimpleNamespace(SECTIONS=(Section("new", "New", 15, build),))
    modules = (*section_package.modules(), module)
    monkeypatch.setattr(section_package, "modules", lambda: modules)
    report = board_report(board_records(evasion_record("a", 600)))
    keys = [section.key for section in report.sections]
    assert keys[keys.index("fashion-linf-ranking") + 1] == "fashion-linf-new"


def test_the_pareto_front_keeps_what_nothing_beats_on_both_axes() -> None:
    points = [(1.0, 9.0), (2.0, 8.0), (2.0, 7.0), (3.0, 8.0), (4.0, 1.0), (3.5, 0.5)]
    assert pareto_front(points) == [(1.0, 9.0), (3.0, 8.0), (4.0, 1.0)]


def test_which_attack_broke_which_sample_is_read_off_the_bits() -> None:
    # Wrong without an attack; broken by fgsm and pgd, by pgd alone, by autoattack alone; robust.
    clean = [False, True, True, True, True]
    record = evasion_record(
        "a",
        {
            "clean": clean,
            "fgsm": [False, False, True, True, True],
            "pgd:steps=20": [False, False, False, True, True],
            "carlini-wagner-linf": clean,
            "autoattack:version=fast": [False, True, True, False, True],
        },
    )
    assert first_breakers(record) == [0, 1, 2, 4, -1]
    assert broken_by_one(record) == [0, 0, 1, 0, 1]
    assert missed_by_last(record) == 2


def flags(ones: int, count: int = 100) -> Bits:
    return Bits.of([n < ones for n in range(count)])


def test_a_pair_is_counted_sample_by_sample() -> None:
    values = [cell.text.split(" ")[0] for cell in bits_cells(flags(60), flags(50))]
    assert values == ["50.0", "10.0", "0.0", "40.0", "10.0", "0.002", "100"]
    records = evasion_record("a", 6), evasion_record("b", 5)
    block = section_block(board_records(*records, pair=("b", "a")), "pairwise")
    assert block is not None
    assert block.tables[0].caption == "b (first) and a (second)"
    *by_attack, worst = texts(block.tables[0])
    assert [row["compared"] for row in by_attack] == list(records[0].attacks)
    assert (worst["compared"], worst["difference"].split(" ")[0]) == ("worst case", "-0.1")
    with pytest.raises(UnknownName, match="no row named 'z'"):
        section_block(board_records(*records, pair=("a", "z")), "pairwise")


def test_a_pair_of_backdoor_rows_is_compared_under_each_attack_that_both_have() -> None:
    records = [
        backdoor_record({"teacher-clean": 90, "student": hits}, label=label, attack=attack)
        for label, attack, hits in (
            ("ard", "badnets", 60),
            ("nad", "badnets", 50),
            ("ard", "blend", 7),
        )
    ]
    board = board_records(*records, board=DIGITS_BACKDOOR, pair=("ard", "nad"))
    block = section_block(board, "pairwise")
    assert block is not None
    (row,) = texts(block.tables[0])
    assert (row["compared"], row["only the first"].split(" ")[0]) == ("badnets", "10.0")


def test_numbers_are_compared_by_their_mean_difference() -> None:
    ranks = {"distillation:temperature=1": [1] * 12, "swing": [2] * 12}
    records = [
        canary_record({"student": by_sample}, label=label) for label, by_sample in ranks.items()
    ]
    board = board_records(*records, board=TEXT_PRIVACY, pair=tuple(reversed(ranks)))
    block = section_block(board, "pairwise")
    assert block is not None
    (row,) = texts(block.tables[0])
    assert "both" not in row
    # Ranks 2 and 1 of the same candidates differ by one bit in every canary.
    assert (row["difference"].split(" ")[0], row["samples"]) == ("-1.0", "12")
    low, high = map(float, re.findall(r"-\d\.\d", row["difference"])[1:])
    assert -1.25 < low < -1 < high < 0
    assert 2 * 0.5**12 <= float(row["p"]) < 0.01


def test_a_radius_curve_joins_records_of_one_network_and_starts_clean() -> None:
    def at(eps: float, robust: int, weights: str = "w") -> Record:
        return evasion_record("a", robust, weights=weights, threat={"eps": eps})

    (points,) = by_radius([at(0.2, 100), at(0.1, 400), at(0.3, 50, "other")]).values()
    assert [(point.eps, point.robust.hits) for point in points] == [
        (0.0, 1000),
        (0.1, 400),
        (0.2, 100),
    ]
    assert by_radius([at(0.1, 400), at(0.2, 100, "other")]) == {}
    assert section_block(board_records(at(0.1, 400), at(0.2, 100)), "curve") is not None
    # What stands in a curve is not listed below the ranking; what stands in none is.
    board = board_records(at(0.1, 400), at(0.2, 100), at(0.3, 50, "other"))
    block = section_block(board, "ranking")
    assert block is not None
    remarks = [row["remarks"] for row in texts(block.tables[0])]
    assert remarks == ["none", "not ranked: another ball: linf 0.3"]


def test_transfer_is_counted_where_the_teacher_has_a_record_of_the_same_samples() -> None:
    teacher = evasion_record("big", 600, weights="t")
    student = evasion_record("small", [n >= 200 for n in range(1000)])
    (pair,) = teacher_pairs([teacher, student])
    assert pair == TeacherPair("robust", teacher, student)
    assert outcomes(pair) == (400, 200, 400, 0)
    elsewhere = evasion_record("big", 600, weights="t", data={"ids": "others"})
    assert list(teacher_pairs([elsewhere, student])) == []
    assert section_block(board_records(teacher, student), "transfer") is not None


def pixels(png: bytes) -> Any:
    return np.asarray(Image.open(BytesIO(png))).astype(int)


def committed(board: str, stem: str) -> BoardRecords:
    """A committed record alone, with what lies beside it."""
    (path,) = (shipped("records") / board).glob(f"{stem}--*.json")
    (records,) = load_boards([path]).boards
    return records


def test_adversarial_examples_are_the_inputs_of_the_evidence_within_their_ball() -> None:
    board = committed("fashion-linf", "ard--seed0")
    (record,) = board.records
    strips = adversarial_examples(board, record, (2, 2))
    assert strips == adversarial_examples(replace(board), record, (2, 2))
    assert len({strip.caption for strip in strips}) == 4
    test = scenario_of(record.scenario).splits(Seed(), whole=False).test
    for strip in strips:
        original, perturbation, given = (pixels(png) for _, png in strip.images)
        place = test.ids.tolist().index(int(re.findall(r"sample (\d+)", strip.caption)[0]))
        np.testing.assert_allclose(original, 255 * test.inputs[place, 0].numpy(), atol=0.51)
        assert 20 < np.abs(given - original).max() <= 26  # 0.1 of 255, rounded twice
        np.testing.assert_allclose((perturbation - 127.5) / 5, given - original, atol=1.2)
        true, answer = re.findall(r"\d+, ([^,]+), classified as ([^;]+);", strip.caption)[0]
        assert true != answer
        assert record.robust.flags[place] is False


def test_evidence_of_another_record_is_refused(tmp_path: Path) -> None:
    record = evasion_record("a", 600, evidence={"sha256": "0" * 64, "bytes": 9, "rows": 0})
    save_record(record, b"something else", tmp_path)
    (board,) = load_boards([tmp_path]).boards
    with pytest.raises(BadRecord, match="is not the evidence that"):
        board_report(board)
