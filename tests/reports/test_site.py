"""The site: a page for every board and row, links that hold wherever it is put, quick to build."""

from __future__ import annotations

import os
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from click.testing import CliRunner
from ledger import first, made
from planted import made as planted

from robustbench_kd.cli.main import main
from robustbench_kd.core.errors import BadSetting
from robustbench_kd.core.paths import shipped
from robustbench_kd.reports.html_page import as_html, counted, part
from robustbench_kd.reports.loading import gather
from robustbench_kd.reports.sections import rows
from robustbench_kd.reports.static_site import build
from robustbench_kd.results.store import save_planted, save_record

NASTY = "<script>alert(1)</script>/../../x"


class Links(HTMLParser):
    """Where a page points to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value for name, value in attrs if name in ("href", "src") and value]


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two students (one of two seeds, one with a hostile name), a reduced run, and a backdoor."""
    folder = tmp_path_factory.mktemp("records")
    students = [made("a", first(600)), made("a", first(590), seed=1), made(NASTY, first(500))]
    for record in (*students, made("short", first(5, 10), limit=10)):
        save_record(record, b"", folder)
    save_planted(planted({"teacher-clean": 90, "student": 30}), b"", folder)
    for evidence in folder.rglob("*.safetensors"):
        evidence.unlink()
    return folder


@pytest.fixture(scope="module")
def site(records: Path) -> Path:
    out = records.parent / "site"
    build(gather([records]).boards, out)
    return out


def pages(site: Path) -> list[Path]:
    return sorted(site.rglob("*.html"))


def test_every_board_and_every_row_has_a_page(site: Path) -> None:
    boards = {path.parent.name: 0 for path in pages(site) if path.parent.parent.name == "boards"}
    for path in pages(site):
        if path.name != "index.html":
            boards[path.parent.name] += 1
    assert boards == {"fashion-linf": 3, "digits-backdoor": 1}


def test_every_link_is_relative_and_leads_to_a_file(site: Path) -> None:
    for page in pages(site):
        for link in Links(page.read_text(encoding="utf-8")).found:
            if link.startswith(("#", "data:")):
                continue
            parts = urlsplit(link)
            assert (parts.scheme, parts.netloc, parts.path[0] == "/") == ("", "", False), link
            target = page.parent / unquote(parts.path)
            assert target.is_file(), f"{page}: {link}"
            assert site in Path(os.path.normpath(target)).parents, link


def test_every_page_is_reached_from_the_index(site: Path) -> None:
    seen, todo = set(), [site / "index.html"]
    while todo:
        page = todo.pop()
        if page in seen:
            continue
        seen.add(page)
        for link in Links(page.read_text(encoding="utf-8")).found:
            target = Path(os.path.normpath(page.parent / unquote(urlsplit(link).path)))
            if target.suffix == ".html":
                todo.append(target)
    assert seen == set(pages(site))


def test_records_are_offered_as_they_are(site: Path, records: Path) -> None:
    for path in records.rglob("*.json"):
        board = path.parent.name
        assert (site / "records" / board / path.name).read_bytes() == path.read_bytes()


def test_what_a_page_offers_can_be_verified_where_it_was_put(tmp_path: Path) -> None:
    paths = sorted((shipped("records") / "digits-linf").glob("ard--*.json"))
    paths += sorted((shipped("records") / "digits-poisoning").glob("witches-brew--*.json"))[:1]
    build(gather(paths).boards, tmp_path)
    for folder in sorted((tmp_path / "records").iterdir()):
        assert list(folder.glob("*.safetensors"))
        ran = CliRunner().invoke(main, ["verify", str(folder)])
        assert ran.exit_code == 0, ran.output
        assert ran.stdout.rstrip().endswith("; level L2")
    for page in pages(tmp_path):
        if page.name != "index.html":
            offered = Links(page.read_text(encoding="utf-8")).found
            assert any(link.endswith(".safetensors") for link in offered)


def test_two_files_of_one_name_are_refused_before_either_is_lost(tmp_path: Path) -> None:
    for folder, hits in (("one", 600), ("two", 500)):
        path = save_record(made(folder, first(hits)), b"", tmp_path / folder)
        path.with_suffix(".safetensors").unlink()
        path.rename(path.with_name("mine.json"))
    found = gather([tmp_path / "one", tmp_path / "two"]).boards
    with pytest.raises(BadSetting, match=r"two files are called mine\.json"):
        build(found, tmp_path / "site")
    assert not (tmp_path / "site" / "boards").exists()


def test_a_board_says_what_it_asks_on_its_page_and_in_the_index(site: Path) -> None:
    asked = "Fashion-MNIST under small changes of every pixel: evasion against distilled students."
    for page in (site / "index.html", site / "boards" / "fashion-linf" / "index.html"):
        assert asked in page.read_text(encoding="utf-8")


def test_a_hostile_name_makes_neither_markup_nor_a_path(site: Path) -> None:
    for page in pages(site):
        assert "<script>alert" not in page.read_text(encoding="utf-8")
    assert {path.suffix for path in site.rglob("*") if path.is_file()} == {
        *(".html", ".css", ".js", ".json", ".md", ".tex")
    }


def test_the_same_records_make_the_same_site(site: Path, records: Path, tmp_path: Path) -> None:
    build(gather([records]).boards, tmp_path)
    for path in site.rglob("*"):
        if path.is_file():
            assert (tmp_path / path.relative_to(site)).read_bytes() == path.read_bytes()


def test_the_word_build_in_a_boards_place_makes_a_site(records: Path, tmp_path: Path) -> None:
    args = ["leaderboard", "build", "--out", str(tmp_path / "s"), "--records", str(records)]
    ran = CliRunner().invoke(main, args)
    assert (ran.exit_code, ran.stdout) == (0, f"{tmp_path / 's' / 'index.html'}: 5 records\n")
    (tmp_path / "file").write_text("in the way")
    ran = CliRunner().invoke(main, ["leaderboard", "build", "--out", str(tmp_path / "file" / "x")])
    assert (ran.exit_code, ran.stdout) == (6, "")
    assert CliRunner().invoke(main, ["leaderboard", "buil"]).exit_code == 2


def test_every_committed_row_has_its_page_and_the_report_stays_below_two_megabytes() -> None:
    found = gather([], "fashion-linf").boards
    (facts,) = found
    pages = rows(facts)
    assert len({page.slug for page in pages}) == len(pages) >= 16
    titles = [title for title, _ in pages[0].blocks]
    assert "Adversarial gallery" in titles
    said = part(facts)
    assert any(one.key == "fashion-linf-gallery" for one in said.sections)
    assert len(as_html([said], "Report", counted(found)).encode()) < 2_000_000


def test_every_board_with_committed_records_is_gathered() -> None:
    names = {path.parent.name for path in shipped("records").glob("*/*.json")}
    found = gather([])
    assert {facts.contest.name for facts in found.boards} == names
    assert found.refused == ()
