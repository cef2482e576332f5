"""The pages in a real browser: clicked, typed into, measured, and listened to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import DESKTOP, PHONE, absent, asked, browser, complaints

from records import backdoor_record, evasion_record
from robustbench_kd.reports.html_page import as_html, board_report
from robustbench_kd.reports.loading import load_boards, record_count
from robustbench_kd.reports.static_site import build
from robustbench_kd.results.store import save_record

NASTY = "<script>alert(1)</script>"
IMAGE = "\"><img src=x onerror='alert(2)'>"
reason = absent()
pytestmark = [
    pytest.mark.skipif(bool(reason), reason=reason or "there is a browser"),
    pytest.mark.slow,
]
Open = Callable[..., Any]
RANKING = "#fashion-linf-ranking"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Site and report of four students, two of hostile names, and of a backdoor at two rates."""
    folder = tmp_path_factory.mktemp("pages")
    students = [
        evasion_record("ard", 700),
        evasion_record(NASTY, 600, clean=900),
        evasion_record("labels", 10, clean=990, defense={"teacher_roles": []}),
        evasion_record(IMAGE, 300, clean=800, warnings=(NASTY,)),
    ]
    success = {"teacher-clean": 90, "student": 30}
    rates = [
        backdoor_record(success, attack=f"badnets:rate={rate}", rate=rate) for rate in (0.01, 0.1)
    ]
    for record in (*students, *rates):
        save_record(record, b"", folder / "records")
    for evidence in folder.rglob("*.safetensors"):
        evidence.unlink()
    boards = load_boards([folder / "records"]).boards
    build(boards, folder / "site")
    text = as_html([board_report(board) for board in boards], NASTY, record_count(boards))
    (folder / "report.html").write_text(text, encoding="utf-8")
    return folder


@pytest.fixture
def opened(site: Path, tmp_path: Path) -> Iterator[Open]:
    """Opens a page; in the end only files of the site were requested, and the console is empty."""
    from contextlib import ExitStack

    with ExitStack() as stack:
        drivers: list[Any] = []

        def visit(page: str, width: int = DESKTOP, *, dark: bool = False) -> Any:
            profile = tmp_path / f"profile{len(drivers)}"
            driver = stack.enter_context(browser(profile, width, dark=dark))
            drivers.append(driver)
            driver.get((site / page).as_uri())
            return driver

        yield visit
        for driver in drivers:
            assert complaints(driver) == []
            outside = [url for url in asked(driver) if not url.startswith(site.as_uri())]
            assert outside == []


def column(driver: Any, place: int) -> list[str]:
    """A column of the ranking as a reader sees it."""
    rows = driver.find_elements("css selector", f"{RANKING} tbody tr")
    shown = [row for row in rows[:4] if row.is_displayed()]
    return [row.find_elements("css selector", "th, td")[place].text for row in shown]


BOARD = "site/boards/fashion-linf/index.html"


def test_a_click_sorts_by_number_and_by_word_and_says_so(opened: Open) -> None:
    driver = opened(BOARD)
    heads = driver.find_elements("css selector", f"{RANKING} thead th")[:4]
    assert column(driver, 1) == ["ard", NASTY, "labels", IMAGE]
    clean = heads[3].find_element("tag name", "button")
    clean.click()
    assert heads[3].get_attribute("aria-sort") == "descending"
    assert column(driver, 1) == ["ard", "labels", NASTY, IMAGE]
    clean.click()
    assert heads[3].get_attribute("aria-sort") == "ascending"
    assert column(driver, 1) == [IMAGE, NASTY, "labels", "ard"]
    heads[1].find_element("tag name", "button").send_keys("\ue007")  # the return key
    assert [head.get_attribute("aria-sort") for head in heads] == [
        "none",
        "ascending",
        *["none"] * 2,
    ]
    assert column(driver, 1) == [IMAGE, NASTY, "ard", "labels"]


def test_search_and_choice_filter_the_rows_and_say_how_many_are_left(opened: Open) -> None:
    from selenium.webdriver.support.select import Select

    driver = opened(BOARD)
    form = driver.find_element("css selector", f"{RANKING} form.filters")
    status = form.find_element("tag name", "output")
    assert status.text == "4 of 4 rows"
    search = form.find_element("css selector", "input")
    search.send_keys("LABEL")
    assert (column(driver, 1), status.text) == (["labels"], "1 of 4 rows")
    search.send_keys("\ue009a\ue000\ue003")  # select all, delete
    assert status.text == "4 of 4 rows"
    Select(form.find_element("css selector", "select")).select_by_visible_text("none")
    assert (column(driver, 1), status.text) == (["labels"], "1 of 4 rows")


def test_a_hostile_name_is_read_and_not_run(opened: Open) -> None:
    from selenium.common.exceptions import NoAlertPresentException

    for page in ("report.html", BOARD):
        driver = opened(page)
        with pytest.raises(NoAlertPresentException):
            driver.switch_to.alert.accept()
        assert NASTY in driver.find_element("tag name", "body").text
        assert driver.find_elements("css selector", "img[src='x']") == []
        assert len(driver.find_elements("tag name", "script")) == 1
    driver.find_element("link text", NASTY).click()
    assert driver.find_element("tag name", "h1").text == NASTY


def test_the_way_leads_from_the_boards_to_a_row_and_back(opened: Open) -> None:
    driver = opened("site/index.html")
    driver.find_element("link text", "Fashion-MNIST, Linf 0.1").click()
    driver.find_element("link text", "ard").click()
    assert driver.find_element("tag name", "h1").text == "ard"
    assert "Rank 1 of 4" in driver.find_element("tag name", "main").text
    driver.find_element("link text", "Leaderboards").click()
    assert driver.current_url.endswith("/site/index.html")


@pytest.mark.parametrize("width", [DESKTOP, PHONE])
@pytest.mark.parametrize("page", ["report.html", BOARD, "site/boards/digits-backdoor/index.html"])
def test_no_page_is_wider_than_the_screen(opened: Open, page: str, width: int) -> None:
    driver = opened(page, width)
    assert driver.execute_script("return document.documentElement.scrollWidth") <= width
    assert len(driver.find_elements("css selector", ".drawing svg")) >= 3
    cut = driver.execute_script(
        "return [...document.querySelectorAll('.drawing svg')].flatMap((svg) => {"
        "const all = svg.getBoundingClientRect(); return [...svg.querySelectorAll('text')]"
        ".filter((text) => { const box = text.getBoundingClientRect();"
        "return box.left < all.left - 2 || box.right > all.right + 2; })"
        ".map((text) => text.textContent); })"
    )
    assert cut == []


@pytest.mark.parametrize("dark", [False, True])
def test_words_stand_out_from_the_paper_by_day_and_night(opened: Open, dark: bool) -> None:
    """Contrast of at least 4.5, as WCAG 2 asks of text, in the page and in its drawings."""
    driver = opened("report.html", dark=dark)
    colours = driver.execute_script(
        "const of = (what) => getComputedStyle(document.querySelector(what));"
        "return [of('body').backgroundColor, of('body').color, of('.prose').color, of('a').color,"
        "of('td small').color, of('.drawing svg text').fill, of('.warns').color]"
    )
    paper, *inks = (luminance(text) for text in colours)
    assert (paper < 0.1) == dark
    for ink in inks:
        assert (max(ink, paper) + 0.05) / (min(ink, paper) + 0.05) >= 4.5, colours


def luminance(colour: str) -> float:
    """The relative luminance of ``rgb(r, g, b)``, as WCAG 2 defines it."""
    parts = [int(part) / 255 for part in colour.strip("rgba()").split(",")[:3]]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return sum(w * p for w, p in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_the_keyboard_reaches_the_content_first_and_shows_where_it_is(opened: Open) -> None:
    driver = opened(BOARD)
    body = driver.find_element("tag name", "body")
    body.send_keys("\ue004")  # tab
    now = driver.switch_to.active_element
    assert (now.text, now.is_displayed()) == ("Skip to the content", True)
    assert now.value_of_css_property("outline-style") == "solid"
    now.send_keys("\ue007")
    assert driver.switch_to.active_element.get_attribute("id") == "main"


def test_everything_is_there_without_any_script(opened: Open) -> None:
    driver = opened("site/index.html")
    driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    driver.find_element("link text", "Fashion-MNIST, Linf 0.1").click()
    assert len(driver.find_elements("css selector", "table tbody tr")) > 4
    assert not driver.find_element("css selector", "form.filters").is_displayed()
    assert driver.find_elements("css selector", "th button") == []
