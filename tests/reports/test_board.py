"""The board: who enters, who stands for whom, who ranks where, and in which words."""

from __future__ import annotations

import csv
import io
import json
import random
from dataclasses import replace

import pytest
from ledger import PANEL, cell, first, made
from rich.console import Console

from robustbench_kd.core.config import Doubt
from robustbench_kd.core.errors import BadSetting, NothingEvaluated, UnknownName
from robustbench_kd.leaderboards.fashion_linf import FASHION_LINF
from robustbench_kd.metrics.rank_intervals import farthest, standing
from robustbench_kd.metrics.robustness import best_known
from robustbench_kd.ops.statistics.bitset import discordant, number_of, text_of, unpack
from robustbench_kd.ops.statistics.paired_tests import mcnemar_two_sided
from robustbench_kd.reports.captions import signature
from robustbench_kd.reports.filters import Wanted, chosen
from robustbench_kd.reports.formats.dataframe import as_csv, as_json
from robustbench_kd.reports.formats.markdown_latex import as_latex, as_markdown
from robustbench_kd.reports.formats.terminal import board_table, entrant_table, remarks
from robustbench_kd.reports.leaderboard import Board, fold, fold_with
from robustbench_kd.results.record import Record

NASTY = "<script>alert(1)</script>|x_y&%$#{}\\~^[red]"


def ranks(board: Board) -> dict[str, str]:
    return {row.label: row.rank for row in board.rows}


def test_rows_that_a_paired_test_cannot_tell_apart_share_their_ranks() -> None:
    a, b, c = first(600), first(597), first(500)  # 3 pairs are no evidence, 97 are
    board = fold(FASHION_LINF, [made("c", c), made("b", b), made("a", a)])
    assert ranks(board) == {"a": "1-2", "b": "1-2", "c": "3"}


def test_ranks_are_paired_not_read_off_overlapping_intervals() -> None:
    # 600 and 580 of 1000 have overlapping intervals, yet every lost example was lost one way.
    better, worse = made("better", first(600)), made("worse", first(580))
    assert better.worst.interval[0] < worse.worst.interval[1]
    assert ranks(fold(FASHION_LINF, [worse, better])) == {"better": "1", "worse": "2"}


def test_a_row_with_doubts_stands_below_all_others() -> None:
    doubtful = made("masked", first(900), doubts=(Doubt.MASKED.value,))
    board = fold(FASHION_LINF, [doubtful, made("honest", first(100))])
    assert ranks(board) == {"honest": "1", "masked": "2"}
    assert f"? masked: {Doubt.MASKED}" in list(remarks(board, 200))


def test_the_lowest_seed_stands_for_a_defense_and_the_others_are_shown() -> None:
    board = fold(FASHION_LINF, [made("a", first(400 + s), seed=s) for s in (2, 0, 1)])
    (row,) = board.rows
    assert row.record.seed == 0
    assert [(seed, share.hits) for seed, share in row.seeds] == [(0, 400), (1, 401), (2, 402)]


def test_another_radius_of_a_student_leaves_its_row_where_it_is() -> None:
    usual, wider = made("a", first(500)), made("a", first(9), threat={"norm": "linf", "eps": 0.2})
    for records in ([usual, wider], [wider, usual]):
        board = fold(FASHION_LINF, records)
        assert [row.record.worst.hits for row in board.rows] == [500]
        assert [reason for _, reason in board.outside] == ["another ball: linf 0.2"]


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (made("a", first(5, 10), limit=10), "a reduced run: the first 10 images only"),
        (made("a", first(5), board="digits-linf"), "made for the board digits-linf"),
        (made("a", first(5), threat={"norm": "linf", "eps": 0.2}), "another ball: linf 0.2"),
        (made("a", first(5), cells=(cell("untouched", first(5)),)), "another panel of attacks"),
        (made("a", first(5), defense={"name": "a", "label": "a", "told": True}), "told the secret"),
        (made("a", first(5), data={"examples": "y", "ids": "i", "count": 1000}), "other images"),
    ],
    ids=["limit", "board", "ball", "panel", "told", "images"],
)
def test_a_record_that_answers_another_question_stays_out_and_says_why(
    record: Record, reason: str
) -> None:
    board = fold(FASHION_LINF, [made("b", first(500)), record])
    assert [row.label for row in board.rows] == ["b"]
    assert [row.label for row, why in board.outside if why.startswith(reason)] == ["a"]


def test_a_student_that_is_committed_and_kept_has_one_row() -> None:
    record = made("a", first(500))
    again = replace(record, spent={"cpu_seconds": 99.0})
    board = fold(FASHION_LINF, [record], [again])
    assert [(row.label, row.yours) for row in board.rows] == [("a", False)]


def test_an_entrant_takes_the_place_of_its_committed_record() -> None:
    committed = [made("a", first(500)), made("a", first(480), seed=1), made("b", first(300))]
    entrant = made("a", first(499))
    board = fold_with(FASHION_LINF, committed, entrant)
    assert [row.label for row in board.rows] == ["a", "b"]
    assert board.row_of(entrant) is board.rows[0]
    assert board.rows[0].record.worst.hits == 499


def test_another_network_of_the_same_name_and_seed_has_a_row_of_its_own_marked_yours() -> None:
    mine = made("a", first(700), weights="abcdef0123")
    board = fold_with(FASHION_LINF, [made("a", first(500))], mine)
    assert [(row.label, row.yours) for row in board.rows] == [("a", True), ("a", False)]
    two = fold(FASHION_LINF, [], [mine, made("a", first(600), weights="fedcba")])
    assert [row.label for row in two.rows] == ["a", "a #fedcba"]


def test_the_wide_worst_case_is_taken_image_by_image_with_its_own_count() -> None:
    flags = first(4000, 10_000)
    late = [n >= 1000 for n in range(10_000)]
    wide = (cell("untouched", flags), cell("fgsm", late))
    board = fold(FASHION_LINF, [made("a", first(500), wide=wide)])
    share = board.rows[0].wide
    assert share is not None
    assert (share.hits, share.count) == (3000, 10_000)


def test_csv_holds_numbers_with_interval_and_count() -> None:
    wide = (cell("untouched", first(5, 10)),)
    board = fold(FASHION_LINF, [made("a", first(0, 500)), made("b", first(9, 500), wide=wide)])
    rows = {row["defense"]: row for row in csv.DictReader(io.StringIO(as_csv(board)))}
    a = rows["a"]
    assert (float(a["robust_value"]), a["robust_hits"], a["robust_count"]) == (0.0, "0", "500")
    assert 0.007 < float(a["robust_high"]) < 0.008
    assert a["attacks_pgd:steps=20_count"] == "500"
    assert (a["wide_count"], rows["b"]["wide_count"]) == ("", "10")


def test_json_is_plain_and_complete() -> None:
    board = fold(FASHION_LINF, [made("a", first(500))])
    (row,) = json.loads(json.dumps(as_json(board), allow_nan=False))["rows"]
    assert row["rank"] == {"best": 1, "last": 1}
    assert set(row["attacks"]) == set(PANEL[1:])
    assert (row["forward"], row["backward"]) == (7 * len(PANEL), 3 * len(PANEL))


def test_markdown_escapes_what_could_be_markup() -> None:
    text = as_markdown(fold(FASHION_LINF, [made(NASTY, first(500))]))
    head, rule, line, *_ = text.splitlines()
    assert "<script>" not in text
    assert "\\|x\\_y" in line
    cells = line.replace("\\|", "").count("|")
    assert cells == head.count("|") == rule.count("|")


def test_a_signature_is_that_of_the_question_and_not_of_the_answers() -> None:
    def signed(**other: object) -> str:
        return signature(fold(FASHION_LINF, [made("a", first(600), **other)]))  # type: ignore[arg-type]

    plain = signed()
    assert plain.startswith("robustbench-kd:unknown|board:fashion-linf|data:fashion@e|n:1000|")
    assert "|linf:0.1|" in plain
    answers = (made("b", first(9)), made("c", first(600), seed=3, weights="w", doubts=("masked",)))
    for record in answers:
        assert signature(fold(FASHION_LINF, [record])) == plain
    settings = tuple(cell(attack, first(600)) for attack in PANEL[:-1])
    last = replace(cell(PANEL[-1], first(600)), settings={"eps": 0.1, "steps": 7})
    data = made("a", first(600)).data
    asked = [
        signed(data={**data, "ids": "others"}),
        signed(data={**data, "examples": "others"}),
        signed(data={**data, "edition": "others"}),
        signed(cells=(*settings, last)),
        signed(versions={"torch": "3"}),
        signature(fold(FASHION_LINF, [made("a", first(600, 900))])),
    ]
    assert len({plain, *asked}) == 1 + len(asked)
    assert signature(fold(FASHION_LINF, [])) == ""


def test_latex_is_bold_where_a_row_may_be_the_first() -> None:
    tied = made("tied", [n != 1 for n in range(600)] + [False] * 400)
    board = fold(FASHION_LINF, [made("best", first(600)), tied, made("third", first(500))])
    text = as_latex(board)
    assert text.count(r"\textbf{") == 2
    for line in text.splitlines():
        assert (r"& \textbf{" in line) == line.startswith("1")  # ranks 1 to 2
    assert r"\textbf" not in as_latex(board, ["defense", "clean"])


def test_latex_escapes_every_special_sign() -> None:
    text = as_latex(fold(FASHION_LINF, [made(NASTY, first(500))]))
    line = next(line for line in text.splitlines() if "script" in line)
    assert r"\textbar{}x\_y\&\%\$\#\{\}\textbackslash{}\textasciitilde{}\textasciicircum{}" in line
    assert r"\toprule" in text
    columns = text.partition(r"\begin{tabular}{")[2].partition("}")[0]
    assert line.count(" & ") + 1 == len(columns)


@pytest.mark.parametrize("width", [80, 100, 160])
def test_the_terminal_shows_every_share_with_its_interval(width: int) -> None:
    nothing, much = made("none", first(0, 500)), made(NASTY, first(300, 500))
    board = fold_with(FASHION_LINF, [nothing], much)
    console = Console(width=width, file=io.StringIO(), color_system=None)
    console.print(board_table(board, width, much), entrant_table(much))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "0.0 " in text
    assert "[0.0, 0.8]" in text
    assert "500 images" in text
    assert "> 1" in text
    assert ("carlini-" in text.partition("seed")[0]) == (width == 160)
    assert max(map(len, text.splitlines())) <= width


# ----------------------------------------------------------------------------------------- places


def test_places_are_those_of_testing_every_pair() -> None:
    """The short way knows most pairs from their counts; the long way asks all bits of all."""
    noise = random.Random(0)
    rows = []
    for _ in range(60):
        share = noise.choice((0.3, 0.5, 0.52, 0.55, 0.9))
        rows.append(made("a", [noise.random() < share for _ in range(300)]))
    rows.sort(key=lambda r: -r.worst.hits)
    wanted = []
    for mine in rows:
        better = worse = 0
        for other in rows:
            lost, won = discordant(mine.flags, other.flags)
            if mcnemar_two_sided(lost, won) <= 0.05:
                better, worse = better + (won > lost), worse + (lost > won)
        wanted.append((1 + better, len(rows) - worse))
    assert standing([r.robust for r in rows]) == wanted
    assert len(set(wanted)) > 5


@pytest.mark.parametrize("count", [5, 6, 40, 333])
def test_the_limit_of_discordant_pairs_is_where_the_test_turns(count: int) -> None:
    for difference in range(1, count + 1):
        told = [
            pairs
            for pairs in range(difference, count + 1, 2)
            if mcnemar_two_sided((pairs + difference) // 2, (pairs - difference) // 2) <= 0.05
        ]
        assert farthest(difference, count) == max(told, default=0)


@pytest.mark.parametrize("count", [1, 7, 8, 9, 1000])
def test_flags_are_one_number_and_back(count: int) -> None:
    flags = [random.Random(count).random() < 0.5 for _ in range(count)]
    number = number_of(made("a", flags).robust["bits"], count)
    assert [bool(number >> (count - 1 - n) & 1) for n in range(count)] == flags
    assert text_of(number, count) == made("a", flags).robust["bits"]
    assert unpack(text_of(number, count), count) == flags


def test_bits_after_the_last_example_are_refused() -> None:
    with pytest.raises(ValueError, match="after the last"):
        number_of(text_of(0b11111111, 8), 7)


# ------------------------------------------------------------------------------------- best known


def only(cells: int, robust: list[bool], **other: object) -> Record:
    """A record of the network ``w`` under the first so many attacks."""
    tried = tuple(cell(a, first(900) if not n else robust) for n, a in enumerate(PANEL[:cells]))
    return made("a", robust, weights="w", cells=tried, **other)


def test_best_known_is_the_bitwise_and_and_says_who_broke_what_first() -> None:
    one = only(5, first(600))
    two = only(2, [n % 2 == 0 for n in range(1000)])
    (best,) = best_known([one, two, one, replace(one, spent={"cpu_seconds": 9.0})]).values()
    assert (best.share.hits, best.share.count) == (300, 1000)
    assert best.first == {one.id: 300, two.id: 300}
    (other,) = best_known([two, one]).values()
    assert other.share == best.share
    assert other.first == {two.id: 450, one.id: 150}


@pytest.mark.parametrize(
    "other",
    [
        {"threat": {"norm": "linf", "eps": 0.2}},
        {"data": {"edition": "e", "examples": "y", "ids": "i", "count": 1000}},
        {"data": {"edition": "e", "examples": "x", "ids": "j", "count": 1000}},
        {"doubts": (Doubt.OVER_BUDGET.value,)},
    ],
    ids=["ball", "images", "ids", "over budget"],
)
def test_flags_about_another_question_are_not_joined(other: dict[str, object]) -> None:
    assert best_known([only(5, first(600)), only(2, first(10), **other)]) == {}


def test_best_known_is_a_column_only_where_a_network_has_several_records() -> None:
    alone = fold(FASHION_LINF, [made("a", first(600))])
    assert "best known" not in as_markdown(alone)
    assert as_json(alone)["rows"][0]["best_known"] is None
    board = fold(FASHION_LINF, [only(5, first(600)), only(2, first(500)), made("b", first(9))])
    assert ranks(board) == {"a": "1", "b": "2"}  # the joined share ranks nobody
    assert "50.0 [46.9, 53.1] in 2 records" in as_markdown(board).replace("\\", "")
    row = next(csv.DictReader(io.StringIO(as_csv(board))))
    assert (row["best_known_hits"], row["best_known_records"]) == ("500", "2")


# ---------------------------------------------------------------------------------------- filters


def sized(label: str, macs: int, **other: object) -> Record:
    record = made(label, first(500), **other)
    return replace(record, model={**record.model, "macs": macs, "parameters": 2 * macs})


@pytest.mark.parametrize(
    ("wanted", "left"),
    [
        (Wanted(), "abc"),
        (Wanted(teacher="clean"), "b"),
        (Wanted(macs=20), "ab"),
        (Wanted(params=20), "a"),
        (Wanted(seed=1), "c"),
        (Wanted(told=False), "abc"),
        (Wanted(teacher="robust", macs=20), "a"),
    ],
    ids=str,
)
def test_a_filter_leaves_who_was_asked_for_and_ranks_these(wanted: Wanted, left: str) -> None:
    records = [
        sized("a", 10),
        sized("b", 20, teachers={"clean": "t"}),
        sized("c", 30, seed=1),
    ]
    board = fold(FASHION_LINF, records, wanted=wanted)
    assert sorted(row.label for row in board.rows) == list(left)
    assert {row.last for row in board.rows} == {len(left)}
    text = as_markdown(board)
    assert str(wanted) in text
    assert ("Only" in text) == bool(wanted.json())


def test_a_filter_that_leaves_nobody_says_so() -> None:
    records = [sized("a", 10)]
    with pytest.raises(NothingEvaluated, match="at most 9 MACs"):
        chosen(records, Wanted(macs=9), "fashion-linf")
    with pytest.raises(UnknownName, match="Known: robust"):
        chosen(records, Wanted(teacher="robuts"), "fashion-linf")
    with pytest.raises(BadSetting, match="hold no sizes"):
        chosen([replace_model()], Wanted(params=9), "fashion-backdoor")


def replace_model() -> object:
    """A record that holds no network, as those of attacks on training data."""

    class Planted:
        defense = {"needs": ["clean"], "label": "a"}  # noqa: RUF012
        seed = 0

    return Planted()


def test_the_cost_of_an_evaluation_is_in_every_format() -> None:
    board = fold(FASHION_LINF, [made("a", first(500))])
    cost = {"parameters": 61_234, "macs": 1_500_000, "forward": 35, "backward": 15}
    (row,) = as_json(board)["rows"]
    assert {**row, **cost, "cpu_seconds": 1.5} == row
    (line,) = csv.DictReader(io.StringIO(as_csv(board)))
    assert {name: int(line[name]) for name in cost} == cost
    for text in (as_markdown(board), as_latex(board)):
        assert all(str(value) in text for value in (*cost.values(), 1.5))


def test_a_teacher_does_not_rank_among_its_students() -> None:
    teacher = made("large", first(450), weights="t")
    teacher = replace(teacher, model={**teacher.model, "yours": True})
    student = made("small", first(400), teachers={"robust": "t"})
    board = fold(FASHION_LINF, [teacher, student])
    assert [row.label for row in board.rows] == ["small"]
    assert [(row.label, why) for row, why in board.outside] == [
        ("large", "the teacher of students here, and none itself")
    ]
    assert fold(FASHION_LINF, [student], [teacher]).rows[0].label == "large"
