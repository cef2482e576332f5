"""The report: one file that asks for nothing, the same bytes for the same records, plain names."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from html.parser import HTMLParser
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from ledger import PANEL, cell, first, made
from PIL import Image
from planted import made as planted

from robustbench_kd.cli.evaluate import evaluating
from robustbench_kd.cli.main import main
from robustbench_kd.core.errors import BadRecord, UnknownName
from robustbench_kd.core.paths import shipped
from robustbench_kd.core.seed import Seed
from robustbench_kd.evaluation.fingerprints import scenario_of
from robustbench_kd.leaderboards.digits_backdoor import DIGITS_BACKDOOR
from robustbench_kd.leaderboards.fashion_linf import FASHION_LINF
from robustbench_kd.reports.document import Block, Entry, Facts, Kept, Table
from robustbench_kd.reports.figures import sketch
from robustbench_kd.reports.html_page import as_html, as_latex, as_markdown, part
from robustbench_kd.reports.loading import gather
from robustbench_kd.reports.sections import readers, sections
from robustbench_kd.reports.sections.adversarial_examples import broken
from robustbench_kd.reports.sections.attack_breakdown import alone, first_breakers
from robustbench_kd.reports.sections.pairwise import paired
from robustbench_kd.reports.sections.provenance import commands
from robustbench_kd.reports.sections.robustness_curve import by_radius
from robustbench_kd.reports.sections.robustness_transfer import families, fates
from robustbench_kd.reports.sections.sanity_checks import missed_by_last
from robustbench_kd.reports.sections.tradeoffs import front
from robustbench_kd.reports.sections.triggered_inputs import submitted
from robustbench_kd.reports.svg import inlined
from robustbench_kd.results.planted import Planted
from robustbench_kd.results.record import Record, worst_case
from robustbench_kd.results.store import save_planted, save_record

NASTY = "<script>alert(1)</script>"
WORSE = "\"'><img src=x onerror=alert(1)>&amp;$x$|_\\"


def facts(*records: Kept, board: object = FASHION_LINF, **more: object) -> Facts:
    entries = tuple(Entry(Path(f"{n}.json"), record) for n, record in enumerate(records))
    return Facts(board, entries, **more)  # type: ignore[arg-type]


def staged(label: str, *rights: list[bool], seed: int = 0) -> Record:
    """A record in which each attack of the panel leaves its own examples right."""
    cells = tuple(cell(name, flags) for name, flags in zip(PANEL, rights, strict=True))
    robust = worst_case(cells)
    return made(label, robust, seed=seed, cells=cells)


def page(*found: Facts) -> str:
    return as_html([part(one) for one in found], "Report", sum(len(f.entries) for f in found))


class Outline(HTMLParser):
    """Every element with its attributes, and the ids; fails where elements do not close."""

    VOID = frozenset({"meta", "link", "img", "input", "wbr", "br"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


@pytest.fixture(scope="module")
def whole() -> str:
    """A report of two boards: three students, and a backdoor at three doses."""
    students = (made("a", first(600)), made("b", first(500)), made("c", first(500), seed=1))
    doses = [
        planted({"teacher-clean": 90, "student": 30}, attack=f"badnets:rate={rate}", rate=rate)
        for rate in (0.01, 0.05, 0.1)
    ]
    return page(facts(*students), facts(*doses, board=DIGITS_BACKDOOR))


def test_the_same_records_make_the_same_bytes(whole: str) -> None:
    students = facts(made("a", first(600)), made("b", first(500)))
    assert page(students) == page(replace(students, found={}))
    assert len(whole.encode()) < 500_000


def test_nothing_in_the_page_points_outside_of_it(whole: str) -> None:
    found = Outline(whole).found
    for tag, attributes in found:
        for name in ("src", "href", "action", "xlink:href", "poster", "data"):
            target = attributes.get(name)
            assert target is None or target.startswith(("#", "data:")), (tag, target)
    (policy,) = (a["content"] for tag, a in found if "http-equiv" in a)
    assert str(policy).startswith("default-src 'none'; img-src data:;")
    assert "@import" not in whole
    assert not re.search(r"url\((?!#)", whole)


def test_no_id_is_given_twice_and_every_reference_has_its_target(whole: str) -> None:
    found = Outline(whole).found
    ids = [attributes["id"] for _, attributes in found if "id" in attributes]
    assert len(ids) == len(set(ids))
    wanted = [attributes["href"] for _, attributes in found if "href" in attributes]
    named = {str(target)[1:] for target in wanted if str(target).startswith("#")}
    named |= set(re.findall(r"url\(#([^)]*)\)", whole))
    for _, attributes in found:
        named |= set((attributes.get("aria-labelledby") or "").split())
    assert named <= set(ids)


def test_every_drawing_and_picture_is_told_in_words_and_every_table_has_its_scopes(
    whole: str,
) -> None:
    found = Outline(whole).found
    drawings = [a for tag, a in found if tag == "svg" and a.get("aria-hidden") != "true"]
    assert len(drawings) >= 6
    assert all(a["role"] == "img" and a["aria-labelledby"] for a in drawings)
    assert all(a.get("alt") for tag, a in found if tag == "img")
    tags = [tag for tag, _ in found]
    assert tags.count("table") == tags.count("caption") == tags.count("tbody")
    assert all(a.get("scope") in ("col", "row") for tag, a in found if tag == "th")
    levels = [int(tag[1]) for tag in tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert all(b <= a + 1 for a, b in pairwise(levels))


@pytest.mark.parametrize("name", [NASTY, WORSE])
def test_a_name_is_text_wherever_it_stands(name: str) -> None:
    plain = page(facts(made("a", first(600)), made("b", first(500))))
    text = page(facts(made(name, first(600)), made("b", first(500), doubts=(name,))))
    kinds = [{tag for tag, _ in Outline(one).found} for one in (plain, text)]
    scripts = [[tag for tag, _ in Outline(one).found].count("script") for one in (plain, text)]
    assert kinds[0] ^ kinds[1] <= {"wbr", "select", "option"}  # there is a doubt to filter by
    assert scripts == [1, 1]
    assert not any(key.startswith("on") for _, a in Outline(text).found for key in a)
    assert name in "".join(Outline(text).text)
    doses = [
        planted({"teacher-clean": 90}, label=name, attack=f"{name}:rate={rate}", rate=rate)
        for rate in (0.05, 0.1)
    ]
    Outline(page(facts(*doses, board=DIGITS_BACKDOOR)))


def test_markdown_and_latex_hold_every_table_with_names_escaped() -> None:
    said = part(facts(made(NASTY, first(600)), made("b", first(500))))
    tables = [table for one in said.sections for table in one.block.tables]
    assert len(tables) >= 6
    markdown, latex = as_markdown([said]), as_latex([said])
    assert markdown.count("### ") == latex.count(r"\begin{tabular}") == len(tables)
    assert "<script" not in markdown + latex
    assert r"\textless{}script" in latex


def test_every_line_of_every_table_is_as_long_as_its_head() -> None:
    backdoor = planted({"teacher-clean": 90, "student": 30})
    for found in (
        facts(made("a", first(600)), made("b", first(500), limit=5)),
        facts(backdoor, board=DIGITS_BACKDOOR),
    ):
        for said in part(found).sections:
            for table in said.block.tables:
                assert {len(line) for line in table.lines} <= {len(table.heads)}
                assert set(table.facets) <= set(table.heads)


def test_what_the_records_cannot_show_is_left_out_and_said() -> None:
    missing = part(facts(made("a", first(600)))).missing
    assert any("more than one radius" in reason for reason in missing)
    assert any("only one row" in reason for reason in missing)
    assert any("gallery" in reason for reason in missing)
    lone = part(facts(planted({"teacher-clean": 90}), board=DIGITS_BACKDOOR))
    assert [reason.partition(":")[0] for reason in lone.missing] == [
        "dose curves",
        "submitted inputs",
    ]
    assert "ranking" not in {said.key.rpartition("-")[2] for said in lone.sections}


def test_a_reduced_run_is_shown_with_its_reason_and_without_a_rank() -> None:
    block = part(facts(made("a", first(5, 10), limit=10))).sections[0].block
    (line,) = block.tables[0].lines
    assert line[0].text == "out"
    assert line[-1].text == "not ranked: a reduced run: the first 10 images only"


def test_the_pareto_front_keeps_what_nothing_beats_on_both_axes() -> None:
    points = [(1.0, 9.0), (2.0, 8.0), (2.0, 7.0), (3.0, 8.0), (4.0, 1.0), (3.5, 0.5)]
    assert front(points) == [(1.0, 9.0), (3.0, 8.0), (4.0, 1.0)]


def test_who_broke_what_is_read_off_the_bits() -> None:
    # Examples: wrong untouched, broken by fgsm and pgd, by pgd alone, by autoattack alone, robust.
    clean = [False, True, True, True, True]
    fgsm = [False, False, True, True, True]
    pgd = [False, False, False, True, True]
    auto = [False, True, True, False, True]
    record = staged("a", clean, fgsm, pgd, clean, auto)
    assert first_breakers(record) == [0, 1, 2, 4, -1]
    assert alone(record) == [0, 0, 1, 0, 1]
    assert missed_by_last(record) == 2


def test_a_pair_is_counted_example_by_example() -> None:
    texts = [field.text.split(" ")[0] for field in paired(first(60, 100), first(50, 100))]
    assert texts == ["50.0", "10.0", "0.0", "40.0", "10.0", "0.002", "100"]
    said = part(facts(made("a", first(6)), made("b", first(5)), pair=("b", "a")))
    (block,) = (one.block for one in said.sections if one.key == "fashion-linf-pairs")
    assert block.tables[0].caption == "b (first) and a (second), attack by attack"
    with pytest.raises(UnknownName, match="no row named 'z'"):
        part(facts(made("a", first(6)), pair=("a", "z")))


def test_a_radius_curve_joins_records_of_one_network_and_starts_clean() -> None:
    def at(eps: float, hits: int, weights: str = "w") -> Record:
        return made("a", first(hits), weights=weights, threat={"norm": "linf", "eps": eps})

    (points,) = by_radius([at(0.2, 100), at(0.1, 400), at(0.3, 50, "other")]).values()
    assert [(eps, share.hits) for eps, share, _ in points] == [(0.0, 1000), (0.1, 400), (0.2, 100)]
    assert by_radius([at(0.1, 400), at(0.2, 100, "other")]) == {}
    shown = part(facts(at(0.1, 400), at(0.2, 100)))
    assert any(said.key == "fashion-linf-curve" for said in shown.sections)
    # What stands in a curve is not listed once more below the ranking; what stands in none is.
    whole = facts(at(0.1, 400), at(0.2, 100), at(0.3, 50, "other"))
    (ranked,) = (s.block for s in part(whole).sections if s.key == "fashion-linf-ranking")
    remarks = [line[-1].text for line in ranked.tables[0].lines]
    assert remarks == ["none", "not ranked: another ball: linf 0.3"]


def test_inheritance_is_counted_where_the_teacher_has_a_record_of_the_same_examples() -> None:
    teacher = made("big", first(600), weights="t")
    student = made("small", [n >= 200 for n in range(1000)])
    assert list(families([teacher, student])) == [("robust", teacher, student)]
    assert fates(teacher, student) == (400, 200, 400, 0)
    elsewhere = made("big", first(600), weights="t", data={**student.data, "ids": "others"})
    assert list(families([elsewhere, student])) == []
    assert any(s.key == "fashion-linf-heirs" for s in part(facts(teacher, student)).sections)


def test_a_drawing_takes_the_colours_of_the_page_and_keeps_its_words() -> None:
    svg = sketch(lambda canvas: canvas.add_subplot().set_xlabel(NASTY))
    text = inlined(svg, "k", NASTY, "what is seen")
    assert "currentColor" in text
    assert "#0a0b0c" not in text
    assert "<script" not in text
    assert "<metadata" not in text
    assert text.count("&lt;script&gt;") == 2


def test_sections_stand_in_order_and_each_has_a_name_of_its_own() -> None:
    found = sections()
    assert [one.place for one in found] == sorted(one.place for one in found)
    assert len({one.name for one in found}) == len(found)
    assert set(readers()) >= {"robustbench-kd.record", "robustbench-kd.planted"}


def test_a_new_kind_of_section_is_one_more_file(monkeypatch: pytest.MonkeyPatch) -> None:
    from types import SimpleNamespace

    from robustbench_kd.reports import sections as house
    from robustbench_kd.reports.document import Section, shown, word

    def build(found: Facts) -> Block:
        line = (word("all"), shown(found.of(Record)[0].worst))
        return Block(tables=(Table("Mine", ("what", "share"), (line,)),))

    rooms = (*house._rooms(), SimpleNamespace(SECTIONS=(Section("mine", "Mine", 15, build),)))
    monkeypatch.setattr(house, "_rooms", lambda: rooms)
    keys = [said.key for said in part(facts(made("a", first(600)))).sections]
    assert keys[:2] == ["fashion-linf-ranking", "fashion-linf-mine"]


def run(*args: str | Path) -> Result:
    return CliRunner().invoke(main, [str(arg) for arg in args])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    records = tmp_path / "records"
    for record in (made("a", first(600)), made("b", first(500))):
        save_record(record, b"", records)
        for lone in (records / record.board).glob("*.safetensors"):
            lone.unlink()  # made up records have no evidence
    save_planted(planted({"teacher-clean": 90, "student": 30}), b"", records)
    return records


def test_the_command_writes_each_format_from_files_and_folders(
    folder: Path, tmp_path: Path
) -> None:
    html, markdown, latex = (tmp_path / "out" / f"r.{end}" for end in ("html", "md", "tex"))
    ran = run("report", folder, "--html", html, "--markdown", markdown, "--latex", latex)
    assert ran.exit_code == 0, ran.output
    assert ran.stdout.splitlines() == [f"{path}: 3 records" for path in (html, markdown, latex)]
    text = html.read_text(encoding="utf-8")
    assert "digits-backdoor-inheritance" in text
    assert "fashion-linf-ranking" in text
    (lone,) = (folder / "fashion-linf").glob("a--*.json")
    assert run("report", lone, "--html", html).stdout == f"{html}: 1 records\n"


@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        ((), 2, "name a file to write"),
        (("gone", "--html", "x.html"), 2, "there is no file or folder gone"),
        (("records", "--html", "x.html", "--board", "digits-linf"), 5, "no record of digits-linf"),
        (("records", "--html", "x.html", "--board", "digits-lin"), 2, "mean 'digits-linf'"),
        (("records", "--html", "x.html", "--pair", "a", "z"), 2, "no row named 'z'"),
        (("records", "--html", "other.json/x.html"), 6, "is not a folder"),
    ],
)
def test_what_cannot_be_reported_gets_one_sentence_and_leaves_no_file(
    args: tuple[str, ...], code: int, says: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.parent)
    Path("other.json").write_text("{}", encoding="utf-8")
    ran = run("report", *args)
    assert (ran.exit_code, ran.stdout) == (code, ""), ran.output
    assert says in ran.stderr
    assert len(ran.stderr.splitlines()) == 1
    assert not Path("x.html").exists()


def pixels(png: bytes) -> Any:
    return np.asarray(Image.open(BytesIO(png))).astype(int)


def committed(board: str, stem: str) -> Facts:
    """A committed record alone, with what lies beside it."""
    (path,) = (shipped("records") / board).glob(f"{stem}--*.json")
    (found,) = gather([path]).boards
    return found


def test_the_gallery_shows_the_inputs_of_the_evidence_within_their_ball() -> None:
    found = committed("fashion-linf", "ard--seed0")
    (record,) = found.of(Record)
    pictures = broken(found, record, (2, 2))
    assert pictures == broken(replace(found, found={}), record, (2, 2))
    assert len({picture.words for picture in pictures}) == 4
    test = scenario_of("fashion").splits(Seed(), whole=False).test
    for picture in pictures:
        original, change, asked = (pixels(png) for _, png in picture.parts)
        place = test.ids.tolist().index(int(re.findall(r"example (\d+)", picture.words)[0]))
        np.testing.assert_allclose(original, 255 * test.inputs[place, 0].numpy(), atol=0.51)
        assert 20 < np.abs(asked - original).max() <= 26  # 0.1 of 255, rounded twice
        np.testing.assert_allclose((change - 127.5) / 5, asked - original, atol=1.2)
        true, said = re.findall(r"\d+, ([^,]+), answered ([^;]+);", picture.words)[0]
        assert true != said
        assert record.flags[place] is False


def test_evidence_of_another_record_is_refused(tmp_path: Path) -> None:
    save_record(made("a", first(600)), b"something else", tmp_path)
    (found,) = gather([tmp_path]).boards
    with pytest.raises(BadRecord, match="is not the one its record was made with"):
        part(found)


def test_submitted_inputs_are_shown_with_whom_they_won() -> None:
    found = committed("fashion-backdoor", "badnets--distillation--seed0")
    (record,) = found.of(Planted)
    pictures = submitted(found, record)
    assert len(pictures) == 3
    for picture in pictures:
        original, _, asked = (pixels(png) for _, png in picture.parts)
        rows, columns = np.nonzero(asked != original)
        assert rows.min() >= 20  # a small patch in the lower right corner
        assert columns.min() >= 20
        assert "wanted T-shirt or top; the source obeys" in picture.words


def test_what_a_page_tells_to_run_asks_what_its_record_answers() -> None:
    for facts in gather([]).boards:
        for entry in facts.entries:
            body = entry.record.json()
            again, check = commands(facts, entry.record)
            asked = evaluating.make_context("evaluate", shlex.split(again)[2:]).params
            assert check.endswith(entry.path.name)
            assert (asked["board"], asked["seed"]) == (body["board"], body["seed"])
            own = body.get("model", {}).get("yours", False)
            assert asked["name" if own else "defense"] == body["defense"]["label"]
            if "threat" in body:
                assert asked["eps"] or facts.contest.budget.amount == body["threat"]["eps"]
            elif not facts.contest.together:
                assert asked["attacks"] == ((body.get("attack") or next(iter(body["attacks"]))),)


def test_the_page_of_every_committed_record_is_small() -> None:
    found = gather([]).boards
    page = as_html([part(one) for one in found], "all", sum(len(one.entries) for one in found))
    assert len(page.encode()) < 2_000_000
    assert page.count("<i style=") > 1_000
    assert page.count("<svg") > 20


def test_a_record_of_one_attack_is_told_by_it_and_the_defense_names_its_line() -> None:
    (found,) = gather([], "text-bias").boards
    said = {one.key: one.block for one in part(found).sections}
    table = said["text-bias-bias"].tables[0]
    assert table.heads[table.lead - 1] == "defense"
    (origins,) = said["text-bias-provenance"].tables
    place = origins.heads.index("about")
    assert all(line[place].text.startswith("bias-injection") for line in origins.lines)


def test_a_figure_names_as_many_as_can_be_read_and_says_so_and_tables_hold_all() -> None:
    many = [made(f"s{n}", first(300 + n), clean=first(999 - n)) for n in range(60)]
    said = {one.key.rpartition("-")[2]: one.block for one in part(facts(*many)).sections}
    for name in ("heat", "kills", "tradeoffs"):
        assert "Only the first 48 of 60 are drawn." in said[name].figures[0].words, name
    assert len(said["heat"].tables[0].lines) == 60
    assert said["heat"].figures[0].svg.count(b"s59") == 1
    assert b">s0<" not in said["heat"].figures[0].svg
    few = {one.key.rpartition("-")[2]: one.block for one in part(facts(*many[:48])).sections}
    assert "Only the first" not in few["heat"].figures[0].words
