"""What a board says first, and what its mean hides: standouts, extremes, classes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from ledger import first, made
from planted import made as planted

from robustbench_kd.core.config import Leaderboard
from robustbench_kd.core.paths import shipped
from robustbench_kd.leaderboards.digits_backdoor import DIGITS_BACKDOOR
from robustbench_kd.leaderboards.fashion_linf import FASHION_LINF
from robustbench_kd.ops.statistics.power import power
from robustbench_kd.reports.document import Block, Entry, Facts, Kept
from robustbench_kd.reports.html_page import part
from robustbench_kd.reports.loading import gather
from robustbench_kd.reports.sections.adversarial_examples import images_of
from robustbench_kd.reports.sections.per_class import each
from robustbench_kd.reports.sections.ranking import board_in
from robustbench_kd.results.record import Record


def facts(*records: Kept, board: Leaderboard = FASHION_LINF) -> Facts:
    return Facts(board, tuple(Entry(Path(f"{n}.json"), one) for n, one in enumerate(records)))


def said(found: Facts, name: str) -> Block | None:
    key = f"{found.contest.name}-{name}"
    return next((one.block for one in part(found).sections if one.key == key), None)


def summary(*records: Kept) -> list[list[str]]:
    block = said(facts(*records), "summary")
    assert block is not None
    return [[cell.text for cell in line] for line in block.tables[0].lines]


TEACHER = made("teacher", first(800), weights="t", model={**made("", [True]).model, "weights": "t"})
BEST = made("trained", first(700), clean=first(900), teachers={})
HEIR = made("heir", [100 <= n < 700 for n in range(1000)], clean=first(950))
OTHER = made("other", first(400), clean=first(990))


def test_standouts_are_paired_with_whom_they_stand_beside() -> None:
    lines = {what: rest for what, *rest in summary(OTHER, BEST, HEIR)}
    assert lines["most robust"][:3] == ["trained", "70.0 [67.1, 72.8]", "heir"]
    assert lines["most robust"][3].startswith("10.0 [8.")  # 100 lost and none won of 1,000
    taught = lines["most robust with a teacher, beside the best without"]
    assert (taught[0], taught[2]) == ("heir", "trained")
    assert taught[3].startswith("-10.0 [-12.")
    exact = lines["most accurate, beside the most robust"]
    assert exact[:4] == ["other", "99.0 [98.2, 99.5]", "trained", "9.0 [7.4, 10.9]"]
    assert "least costly, beside the most robust" not in lines  # all have one size


def test_a_student_is_measured_against_the_teacher_that_it_kept_most_of() -> None:
    lines = {what: rest for what, *rest in summary(TEACHER, BEST, HEIR, OTHER)}
    near = lines["nearest to its teacher, beside the teacher"]
    assert (near[0], near[2]) == ("heir", "teacher")  # 600 of 800 kept against 400
    assert near[3].startswith("-20.0 [")


def test_a_smaller_student_is_shown_beside_the_best() -> None:
    small = made("small", first(300), model={**OTHER.model, "weights": "s", "macs": 7})
    lines = {what: rest for what, *rest in summary(BEST, OTHER, small)}
    assert lines["least costly, beside the most robust"][:3] == [
        "small",
        "30.0 [27.2, 32.9]",
        "trained",
    ]


def test_one_row_or_doubtful_ones_make_no_summary() -> None:
    assert said(facts(BEST), "summary") is None
    doubtful = made("doubt", first(999), doubts=("masked",))
    assert said(facts(BEST, doubtful), "summary") is None


def test_the_first_words_say_what_so_many_images_can_show() -> None:
    one = made("one", first(600))
    two = made("two", [20 <= n < 610 for n in range(1000)])  # 20 lost, 10 won
    block = said(facts(one, two), "summary")
    assert block is not None
    told = float(block.words[0].partition("a difference of ")[2].partition(" points")[0])
    least, most = (told - 0.06) / 100, (told + 0.06) / 100  # it is rounded to a tenth
    assert power(1000, most, 0.01) >= 0.8 > power(1000, least, 0.01)  # 1 % change each way


def test_every_attack_has_its_safest_and_its_most_obedient_student() -> None:
    good = planted({"teacher-clean": 90, "student": 10}, label="good")
    bad = planted({"teacher-clean": 80, "student": 60}, label="bad")
    block = said(facts(bad, good, board=DIGITS_BACKDOOR), "extremes")
    assert block is not None
    (line,) = block.tables[0].lines
    texts = [cell.text.partition(" ")[0] for cell in line]
    count = good.wins
    assert texts[1:7] == [
        "good",
        f"{1000 / count:.1f}",
        f"{9000 / count:.1f}",
        "bad",
        f"{6000 / count:.1f}",
        f"{8000 / count:.1f}",
    ]
    assert said(facts(good, board=DIGITS_BACKDOOR), "extremes") is None
    lone = planted({"teacher-clean": 90, "student": 10}, attack="blend")
    block = said(facts(bad, good, lone, board=DIGITS_BACKDOOR), "extremes")
    assert block is not None
    (texts,) = (
        [cell.text for cell in line] for line in block.tables[0].lines if line[0].text == "blend"
    )
    assert texts[1] == "distillation"
    assert texts[4:7] == ["", "", ""]  # nobody else was tried


def told_by(board: str, name: str) -> tuple[list[list[str]], list[dict[str, str]]]:
    """The first lines of a committed board, and its whole table by its heads."""
    (found,) = gather([], board).boards
    block, whole = said(found, name), said(found, found.contest.rank_by)
    assert block is not None
    assert whole is not None
    (table,) = whole.tables
    lines = [[cell.text for cell in line] for line in block.tables[0].lines]
    return lines, [
        {head: cell.text for head, cell in zip(table.heads, line, strict=True)}
        for line in table.lines
    ]


def leading(text: str) -> float:
    return float(text.partition(" ")[0])


def test_who_hides_most_is_read_off_the_table_of_exposures() -> None:
    lines, rows = told_by("text-privacy", "hidden")
    rows = [row for row in rows if row["exposure below"]]
    untold = [row for row in rows if "(told)" not in row["defense"]]
    cheap = [row for row in untold if leading(row["perplexity above"]) <= 2]
    assert 0 < len(cheap) < len(untold) < len(rows)
    for line, some in zip(lines, (rows, untold, cheap), strict=False):
        best = max(some, key=lambda row: leading(row["exposure below"]))
        assert [line[1], line[2], line[4]] == [
            best["defense"].removesuffix(" (told)"),
            best["exposure below"],
            best["perplexity above"],
        ]
    reads = min(rows, key=lambda row: leading(row["perplexity above"]))
    assert lines[3][:2] == [
        "reads best, plain distillation aside",
        reads["defense"].removesuffix(" (told)"),
    ]


def test_the_best_repair_told_and_untold_is_read_off_the_table_of_repairs() -> None:
    lines, rows = told_by("pictures-backdoor", "mended")
    assert len(lines) == 3
    for attack, best, gone, _, blind, less, *_ in lines:
        asked = [row for row in rows if row["attack"] == attack]
        for name, share, some in (
            (best, gone, asked),
            (blind, less, [row for row in asked if not row["told"]]),
        ):
            top = max(some, key=lambda row: leading(row["joint removal"]))
            assert (name, share) == (top["defense"], top["joint removal"])


def test_who_repeats_most_and_least_is_read_off_the_table_of_payloads() -> None:
    lines, rows = told_by("text-bias", "repeated")
    assert len(lines) == 6
    for attack, teacher, _, least, most, loud, _ in lines:
        asked = [row for row in rows if row["attack"] == attack]
        rates = [leading(row["student, poisoned"]) for row in asked]
        assert (leading(least), leading(loud)) == (min(rates), max(rates))
        assert (most, teacher) in {(r["defense"], r["teacher, poisoned"]) for r in asked}


@pytest.fixture(scope="module")
def committed() -> Facts:
    places = sorted((shipped("records") / "fashion-linf").glob("ard--seed*.json"))
    (found,) = gather(places).boards
    return found


def test_classes_add_up_to_the_whole(committed: Facts) -> None:
    for record in committed.of(Record):
        split = each(committed, record)
        assert [place for place, _, _ in split] == list(range(10))
        assert sum(clean.hits for _, clean, _ in split) == record.clean.hits
        assert sum(robust.hits for _, _, robust in split) == record.worst.hits
        assert sum(robust.count for _, _, robust in split) == record.worst.count


def test_a_class_is_counted_by_the_labels_of_its_images(committed: Facts) -> None:
    record = committed.of(Record)[0]
    clean = images_of(committed, record)
    assert clean is not None
    bags = clean.targets == 8
    _, right, robust = each(committed, record)[8]
    untouched = torch.tensor(record.cell("untouched").flags)
    assert (right.hits, right.count) == (int(untouched[bags].sum()), int(bags.sum()))
    assert robust.hits == int(torch.tensor(record.flags)[bags].sum())


def test_the_map_of_classes_calls_them_by_name_and_says_where_there_is_none(
    committed: Facts,
) -> None:
    block = said(committed, "classes")
    assert block is not None
    assert block.tables[0].heads[1:4] == ("T-shirt or top", "trouser", "pullover")
    away = facts(made("a", first(600)))  # of images that nobody has
    assert said(away, "classes") is None
    assert any(reason.startswith("class by class") for reason in part(away).missing)


def test_a_summary_ranks_as_the_board_does(committed: Facts) -> None:
    whole = gather([], "fashion-linf").boards[0]
    board = board_in(whole)
    block = said(whole, "summary")
    assert board is not None
    assert block is not None
    assert block.tables[0].lines[0][1].text == board.rows[0].label
