"""The site: a page for every leaderboard and row, relative links that hold, offered files."""

from __future__ import annotations

import os
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from click.testing import CliRunner

from records import backdoor_record, evasion_record
from robustbench_kd.cli.main import main
from robustbench_kd.core.errors import BadSetting
from robustbench_kd.core.paths import shipped
from robustbench_kd.reports.html_page import as_html, board_report
from robustbench_kd.reports.loading import load_boards, record_count
from robustbench_kd.reports.sections import pages
from robustbench_kd.reports.static_site import build
from robustbench_kd.results.store import save_record

NASTY = "<script>alert(1)</script>/../../x"


class Links(HTMLParser):
    """Where a page points to."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.targets += [value for name, value in attrs if name in ("href", "src") and value]


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two students (one of two seeds, one with a hostile name), a reduced run, and a backdoor."""
    folder = tmp_path_factory.mktemp("records")
    for record in (
        evasion_record("a", 600),
        evasion_record("a", 590, seed=1),
        evasion_record(NASTY, 500),
        evasion_record("short", 5, count=10, limit=10),
        backdoor_record({"teacher-clean": 90, "student": 30}),
    ):
        save_record(record, b"", folder)
    for evidence in folder.rglob("*.safetensors"):
        evidence.unlink()
    return folder


@pytest.fixture(scope="module")
def site(records: Path) -> Path:
    out = records.parent / "site"
    build(load_boards([records]).boards, out)
    return out


def html_pages(site: Path) -> list[Path]:
    return sorted(site.rglob("*.html"))


def test_every_leaderboard_and_every_row_has_a_page(site: Path) -> None:
    rows: dict[str, int] = {}
    for path in html_pages(site / "boards"):
        rows[path.parent.name] = rows.get(path.parent.name, 0) + (path.name != "index.html")
    assert rows == {"fashion-linf": 3, "digits-backdoor": 1}


def test_every_link_is_relative_and_leads_to_a_file(site: Path) -> None:
    for page in html_pages(site):
        for link in Links(page).targets:
            if link.startswith(("#", "data:")):
                continue
            parts = urlsplit(link)
            assert (parts.scheme, parts.netloc, parts.path[0] == "/") == ("", "", False), link
            target = page.parent / unquote(parts.path)
            assert target.is_file(), f"{page}: {link}"
            assert site in Path(os.path.normpath(target)).parents, link


def test_every_page_is_reached_from_the_index(site: Path) -> None:
    reached, queue = set(), [site / "index.html"]
    while queue:
        page = queue.pop()
        if page in reached:
            continue
        reached.add(page)
        for link in Links(page).targets:
            target = Path(os.path.normpath(page.parent / unquote(urlsplit(link).path)))
            if target.suffix == ".html":
                queue.append(target)
    assert reached == set(html_pages(site))


def test_records_are_offered_as_they_are(site: Path, records: Path) -> None:
    for path in records.rglob("*.json"):
        board = path.parent.name
        assert (site / "records" / board / path.name).read_bytes() == path.read_bytes()


def test_what_a_page_offers_can_be_verified_where_it_was_put(tmp_path: Path) -> None:
    paths = sorted((shipped("records") / "digits-linf").glob("ard--*.json"))
    paths += sorted((shipped("records") / "digits-poisoning").glob("witches-brew*--seed0--*.json"))
    build(load_boards(paths[:2]).boards, tmp_path)
    folders = sorted((tmp_path / "records").iterdir())
    assert [folder.name for folder in folders] == ["digits-linf", "digits-poisoning"]
    for folder in folders:
        assert list(folder.glob("*.safetensors"))
        ran = CliRunner().invoke(main, ["verify", str(folder)])
        assert ran.exit_code == 0, ran.output
        assert ran.stdout.rstrip().endswith("; level L2")
    for page in html_pages(tmp_path):
        if page.name != "index.html":
            assert any(link.endswith(".safetensors") for link in Links(page).targets)


def test_two_files_of_one_name_are_refused_before_either_is_lost(tmp_path: Path) -> None:
    for folder, robust in (("one", 600), ("two", 500)):
        path = save_record(evasion_record(folder, robust), b"", tmp_path / folder)
        path.rename(path.with_name("mine.json"))
    boards = load_boards([tmp_path / "one", tmp_path / "two"]).boards
    with pytest.raises(BadSetting, match=r"two files are called mine\.json"):
        build(boards, tmp_path / "site")
    assert not (tmp_path / "site" / "boards").exists()


def test_a_leaderboard_says_what_it_is_about_on_its_page_and_in_the_index(site: Path) -> None:
    about = "Fashion-MNIST under small changes of every pixel: evasion against distilled students."
    for page in (site / "index.html", site / "boards" / "fashion-linf" / "index.html"):
        assert about in page.read_text(encoding="utf-8")


def test_a_hostile_name_makes_neither_markup_nor_a_path(site: Path) -> None:
    for page in html_pages(site):
        assert "<script>alert" not in page.read_text(encoding="utf-8")
    assert {path.suffix for path in site.rglob("*") if path.is_file()} == {
        *(".html", ".css", ".js", ".json", ".md", ".tex")
    }


def test_the_same_records_make_the_same_site(site: Path, records: Path, tmp_path: Path) -> None:
    build(load_boards([records]).boards, tmp_path)
    for path in site.rglob("*"):
        if path.is_file():
            assert (tmp_path / path.relative_to(site)).read_bytes() == path.read_bytes()


def test_the_word_build_in_place_of_a_leaderboard_makes_a_site(
    records: Path, tmp_path: Path
) -> None:
    args = ["leaderboard", "build", "--out", str(tmp_path / "s"), "--records", str(records)]
    ran = CliRunner().invoke(main, args)
    assert (ran.exit_code, ran.stdout) == (0, f"{tmp_path / 's' / 'index.html'}: 5 records\n")
    (tmp_path / "file").write_text("in the way")
    ran = CliRunner().invoke(main, ["leaderboard", "build", "--out", str(tmp_path / "file" / "x")])
    assert (ran.exit_code, ran.stdout) == (6, "")
    assert CliRunner().invoke(main, ["leaderboard", "buil"]).exit_code == 2


def test_every_committed_row_has_its_page_and_the_report_stays_below_two_megabytes() -> None:
    (board,) = load_boards([], "fashion-linf").boards
    rows = pages(board)
    assert len({page.slug for page in rows}) == len(rows) >= 16
    assert "Adversarial examples" in [title for title, _ in rows[0].blocks]
    report = board_report(board)
    assert any(section.key == "fashion-linf-examples" for section in report.sections)
    assert len(as_html([report], "Report", record_count([board])).encode()) < 2_000_000


def test_every_leaderboard_with_committed_records_is_loaded() -> None:
    names = {path.parent.name for path in shipped("records").glob("*/*.json")}
    stock = load_boards([])
    assert {board.leaderboard.name for board in stock.boards} == names
    assert stock.refused == ()
