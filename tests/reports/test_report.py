"""The report: one file that sends no request, the same bytes for the same records, plain names."""

from __future__ import annotations

import json
import re
import shlex
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest
from board_pages import board_records, html_of
from click.testing import CliRunner, Result

from records import (
    backdoor_record,
    evasion_record,
)
from robustbench_kd.cli.evaluate import evaluating
from robustbench_kd.cli.main import main
from robustbench_kd.core.paths import shipped
from robustbench_kd.core.registry import entries
from robustbench_kd.leaderboards.digits_backdoor import DIGITS_BACKDOOR
from robustbench_kd.reports.drawing import sketch
from robustbench_kd.reports.html_page import as_html, as_latex, as_markdown, board_report
from robustbench_kd.reports.loading import load_boards, record_count
from robustbench_kd.reports.sections.provenance import commands
from robustbench_kd.reports.svg import inlined
from robustbench_kd.results.record import Record
from robustbench_kd.results.store import save_record

NASTY = "<script>alert(1)</script>"
WORSE = "\"'><img src=x onerror=alert(1)>&amp;$x$|_\\"


def backdoors(label: str = "distillation", attack: str = "badnets") -> list[Record]:
    """A student under one attack at three poisoning rates."""
    success = {"teacher-clean": 90, "student": 30}
    return [
        backdoor_record(success, label=label, attack=f"{attack}:rate={rate}", rate=rate)
        for rate in (0.01, 0.05, 0.1)
    ]


class Outline(HTMLParser):
    """Every element with its attributes, and the text; fails where elements do not close."""

    VOID = frozenset({"meta", "link", "img", "input", "wbr", "br"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


@pytest.fixture(scope="module")
def page() -> str:
    """Two leaderboards: three students, and a backdoor at three poisoning rates."""
    students = (
        evasion_record("a", 600),
        evasion_record("b", 500),
        evasion_record("c", 500, seed=1),
    )
    return html_of(board_records(*students), board_records(*backdoors(), board=DIGITS_BACKDOOR))


def test_the_same_records_make_the_same_bytes(page: str) -> None:
    students = (evasion_record("a", 600), evasion_record("b", 500))
    assert html_of(board_records(*students)) == html_of(board_records(*students))
    assert len(page.encode()) < 500_000


def test_nothing_in_the_page_points_outside_of_it(page: str) -> None:
    elements = Outline(page).elements
    for tag, attributes in elements:
        for name in ("src", "href", "action", "xlink:href", "poster", "data"):
            target = attributes.get(name)
            assert target is None or target.startswith(("#", "data:")), (tag, target)
    (policy,) = (a["content"] for tag, a in elements if "http-equiv" in a)
    assert str(policy).startswith("default-src 'none'; img-src data:;")
    assert "@import" not in page
    assert not re.search(r"url\((?!#)", page)


def test_no_id_is_given_twice_and_every_reference_has_its_target(page: str) -> None:
    elements = Outline(page).elements
    ids = [attributes["id"] for _, attributes in elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = [attributes["href"] for _, attributes in elements if "href" in attributes]
    targets = {str(link)[1:] for link in links if str(link).startswith("#")}
    targets |= set(re.findall(r"url\(#([^)]*)\)", page))
    for _, attributes in elements:
        targets |= set((attributes.get("aria-labelledby") or "").split())
    assert targets <= set(ids)


def test_drawings_have_descriptions_and_tables_have_captions_and_scopes(page: str) -> None:
    elements = Outline(page).elements
    drawings = [a for tag, a in elements if tag == "svg" and a.get("aria-hidden") != "true"]
    assert len(drawings) >= 6
    assert all(a["role"] == "img" and a["aria-labelledby"] for a in drawings)
    assert all(a.get("alt") for tag, a in elements if tag == "img")
    tags = [tag for tag, _ in elements]
    assert tags.count("table") == tags.count("caption") == tags.count("tbody")
    assert all(a.get("scope") in ("col", "row") for tag, a in elements if tag == "th")
    levels = [int(tag[1]) for tag in tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert all(b <= a + 1 for a, b in pairwise(levels))


@pytest.mark.parametrize("name", [NASTY, WORSE])
def test_a_name_is_text_wherever_it_stands(name: str) -> None:
    plain = html_of(board_records(evasion_record("a", 600), evasion_record("b", 500)))
    hostile = evasion_record(name, 600), evasion_record("b", 500, warnings=(name,))
    text = html_of(board_records(*hostile))
    kinds = [{tag for tag, _ in Outline(html).elements} for html in (plain, text)]
    scripts = [[tag for tag, _ in Outline(html).elements].count("script") for html in (plain, text)]
    assert kinds[0] ^ kinds[1] <= {"wbr", "select", "option"}  # there is a warning to filter by
    assert scripts == [1, 1]
    assert not any(key.startswith("on") for _, a in Outline(text).elements for key in a)
    assert name in "".join(Outline(text).text)
    Outline(html_of(board_records(*backdoors(name, name), board=DIGITS_BACKDOOR)))


def test_markdown_and_latex_hold_every_table_with_names_escaped() -> None:
    report = board_report(board_records(evasion_record(NASTY, 600), evasion_record("b", 500)))
    tables = [table for section in report.sections for table in section.block.tables]
    assert len(tables) >= 6
    markdown, latex = as_markdown([report]), as_latex([report])
    assert markdown.count("### ") == latex.count(r"\begin{tabular}") == len(tables)
    assert "<script" not in markdown + latex
    assert r"\textless{}script" in latex


def test_every_row_of_every_table_is_as_long_as_its_head() -> None:
    for board in (
        board_records(evasion_record("a", 600), evasion_record("b", 500, limit=5)),
        board_records(*backdoors(), board=DIGITS_BACKDOOR),
    ):
        for section in board_report(board).sections:
            for table in section.block.tables:
                assert {len(row) for row in table.rows} <= {len(table.heads)}
                assert set(table.filters) <= set(table.heads)
                assert 0 <= table.row_head < len(table.heads)


def test_a_drawing_takes_the_colours_of_the_page_and_keeps_its_text() -> None:
    svg = sketch(lambda canvas: canvas.add_subplot().set_xlabel(NASTY))
    text = inlined(svg, "k", NASTY, "what is seen")
    assert "currentColor" in text
    assert "#0a0b0c" not in text
    assert "<script" not in text
    assert "<metadata" not in text
    assert text.count("&lt;script&gt;") == 2


def run(*args: str | Path) -> Result:
    return CliRunner().invoke(main, [str(arg) for arg in args])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two students and a backdoor; the evidence that the last one names is missing."""
    records = tmp_path / "records"
    for record in (
        evasion_record("a", 600),
        evasion_record("b", 500),
        backdoor_record({"teacher-clean": 90, "student": 30}),
    ):
        save_record(record, b"", records)
    for evidence in records.rglob("*.safetensors"):
        evidence.unlink()
    return records


def test_the_command_writes_each_format_from_files_and_folders(
    folder: Path, tmp_path: Path
) -> None:
    html, markdown, latex = (tmp_path / "out" / f"r.{end}" for end in ("html", "md", "tex"))
    ran = run("report", folder, "--html", html, "--markdown", markdown, "--latex", latex)
    assert ran.exit_code == 0, ran.output
    assert ran.stdout.splitlines() == [f"{path}: 3 records" for path in (html, markdown, latex)]
    text = html.read_text(encoding="utf-8")
    assert "digits-backdoor-ranking" in text
    assert "fashion-linf-ranking" in text
    (single,) = (folder / "fashion-linf").glob("a--*.json")
    assert run("report", single, "--html", html).stdout == f"{html}: 1 records\n"


def test_damaged_files_are_refused_by_name_and_the_rest_is_shown(
    folder: Path, tmp_path: Path
) -> None:
    board = folder / "fashion-linf"
    (board / "broken.json").write_text('{"schema": "robustbench-kd.record/2"}', encoding="utf-8")
    (single,) = board.glob("b--*.json")
    body = json.loads(single.read_text(encoding="utf-8"))
    (board / "edited.json").write_text(json.dumps({**body, "seed": 7}), encoding="utf-8")
    ran = run("report", folder, "--html", tmp_path / "r.html", "--json")
    assert ran.exit_code == 2
    refused = json.loads(ran.stdout)["refused"]
    assert [str(board / name) in " ".join(refused) for name in ("broken.json", "edited.json")] == [
        True,
        True,
    ]
    assert (len(refused), json.loads(ran.stdout)["records"]) == (2, 3)
    assert all(sentence in ran.stderr for sentence in refused)
    assert "fashion-linf-ranking" in (tmp_path / "r.html").read_text(encoding="utf-8")


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


def test_the_commands_on_a_page_ask_what_its_record_answers() -> None:
    for board in load_boards([]).boards:
        for entry in board.entries:
            record = entry.record
            again, check = commands(board, record)
            given = evaluating.make_context("evaluate", shlex.split(again)[2:]).params
            assert check.endswith(entry.path.name)
            assert (given["board"], given["seed"]) == (record.board, record.seed)
            user_model = record.student.get("user_model", False)
            assert given["name" if user_model else "defense"] == record.label
            if not board.leaderboard.poisons:
                assert (given["eps"] or board.leaderboard.budget.amount) == record.threat["eps"]
            elif not board.leaderboard.joint:
                assert given["attacks"] == tuple(record.attack_labels)


@pytest.mark.slow
def test_the_page_of_every_committed_record_is_small() -> None:
    stock = load_boards([])
    assert stock.refused == ()
    assert record_count(stock.boards) == len(list(shipped("records").rglob("*.json")))
    reports = [board_report(board) for board in stock.boards]
    assert {report.key for report in reports} <= set(entries("leaderboards"))
    html = as_html(reports, "all", record_count(stock.boards))
    assert len(html.encode()) < 2_500_000
    assert html.count("<i style=") > 1_000
    assert html.count("<svg") > 20
