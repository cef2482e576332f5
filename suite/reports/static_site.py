"""A static site: a page for every leaderboard and every row, for any web server or none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from robustbench_kd.core.errors import BadSetting
from robustbench_kd.core.io import EVIDENCE_LIMIT, expect_writable, read_bytes, write_whole
from robustbench_kd.core.paths import is_shipped
from robustbench_kd.core.registry import find
from robustbench_kd.reports.document import (
    BoardRecords,
    Entry,
    Page,
    Table,
    number_cell,
    text_cell,
)
from robustbench_kd.reports.html_page import (
    ASSETS,
    BuiltSection,
    as_latex,
    as_markdown,
    board_report,
    render,
)
from robustbench_kd.reports.loading import record_count
from robustbench_kd.reports.sections import pages
from robustbench_kd.results.store import evidence_path, find_evidence

POLICY = (
    "default-src 'none'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; "
    "script-src 'self'; base-uri 'none'; form-action 'none'"
)
STATIC = ("style.css", "script.js")
UP = "../../"  # from the page of a leaderboard to the top
HOME = ("Leaderboards", UP + "index.html")


def build(boards: Sequence[BoardRecords], out: Path, title: str = "robustbench-kd") -> list[Path]:
    """Writes the whole site below a folder; all links in it are relative.

    Files of an earlier site are replaced where they have the same name, and nothing is removed.

    Raises:
        SaveFailed: where the folder cannot be written.
        BadSetting: where two different files have one name.
    """
    expect_writable(out)
    written = [_put(out / "assets" / name, (ASSETS / name).read_bytes()) for name in STATIC]
    for board in boards:
        written += _board(replace(board, row_pages=True), out)
    page = render(
        "index.html.j2",
        policy=POLICY,
        title=title,
        count=record_count(boards),
        boards=_contents(boards),
    )
    return [*written, _put(out / "index.html", page.encode())]


def _board(board: BoardRecords, out: Path) -> list[Path]:
    """The page of a leaderboard, those of its rows, its tables as files, and its records."""
    name, title = board.leaderboard.name, board.leaderboard.title
    files = offered_files(board)
    folder = out / "boards" / name
    report = board_report(board)
    text = render(
        "board.html.j2",
        policy=POLICY,
        root=UP,
        title=title,
        summary=summary(name),
        trail=(HOME,),
        count=len(board.entries),
        sections=report.sections,
        missing=report.missing,
        downloads=(("Tables as Markdown", f"{name}.md"), ("Tables as LaTeX", f"{name}.tex")),
    )
    written = [
        _put(folder / "index.html", text.encode()),
        _put(folder / f"{name}.md", as_markdown([report]).encode()),
        _put(folder / f"{name}.tex", as_latex([report]).encode()),
    ]
    for page in pages(board):
        written.append(_put(folder / f"{page.slug}.html", _row(board, page).encode()))
    return written + [_put(out / "records" / name / file, data) for file, data in files.items()]


def _row(board: BoardRecords, page: Page) -> str:
    name = board.leaderboard.name
    sections = [
        BuiltSection(f"part{place}", title, block)
        for place, (title, block) in enumerate(page.blocks)
    ]
    entries = [Entry(board.path(record), record) for record in page.records]
    files = {entry.path.name: "Record" for entry in entries}
    files |= {file: "Evidence" for entry in entries for file in evidence(entry)}
    return render(
        "board.html.j2",
        policy=POLICY,
        root=UP,
        title=page.title,
        summary="",
        trail=(HOME, (board.leaderboard.title, "index.html")),
        count=len(entries),
        sections=sections,
        missing=(),
        downloads=[
            (f"{kind} {file}", f"{UP}records/{name}/{file}") for file, kind in files.items()
        ],
    )


def offered_files(board: BoardRecords) -> dict[str, bytes]:
    """The records of a leaderboard and the evidence beside them, by file name.

    Raises:
        BadSetting: where two different files have one name.
    """
    files: dict[str, bytes] = {}
    for entry in board.entries:
        for name, path in {entry.path.name: entry.path, **evidence(entry)}.items():
            data = read_bytes(path, EVIDENCE_LIMIT, links=is_shipped(path))
            if files.setdefault(name, data) != data:
                raise BadSetting(
                    f"two files are called {name}, and {path} is one of them; rename it, so "
                    "that the site can offer both"
                )
    return files


def evidence(entry: Entry) -> dict[str, Path]:
    """The file of stored inputs, under the name that ``verify`` looks for; empty without one."""
    name = evidence_path(entry.record, entry.path)
    path = find_evidence(entry.record, entry.path)
    return {name.name: path} if name and path else {}


def summary(board: str) -> str:
    """What a leaderboard is about, in one sentence."""
    return find("leaderboards", board).summary()


def _contents(boards: Sequence[BoardRecords]) -> Table:
    rows = tuple(
        (
            text_cell(board.title, href=f"boards/{board.name}/index.html"),
            text_cell(summary(board.name)),
            text_cell(board.scenario),
            text_cell(board.capability.replace("_", " ")),
            number_cell(len(board.attacks)),
            number_cell(len(board.defenses)),
            number_cell(len(records.entries)),
        )
        for records in boards
        for board in [records.leaderboard]
    )
    heads = ("leaderboard", "about", "scenario", "capability", "attacks", "defenses", "records")
    return Table("Leaderboards", heads, rows, filters=("scenario", "capability"))


def _put(path: Path, data: bytes) -> Path:
    write_whole(path, data)
    return path
