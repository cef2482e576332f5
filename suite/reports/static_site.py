"""A static site: a page for every board and every row, for any web server or none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from robustbench_kd.core.errors import BadSetting
from robustbench_kd.core.io import expect_writable, read_bytes, write_whole
from robustbench_kd.core.registry import find
from robustbench_kd.reports.document import Entry, Facts, Row, Table, number, word
from robustbench_kd.reports.html_page import (
    ASSETS,
    Said,
    as_latex,
    as_markdown,
    counted,
    part,
    render,
)
from robustbench_kd.reports.sections import rows
from robustbench_kd.results.planted import Planted
from robustbench_kd.results.probed import Probed
from robustbench_kd.results.record import Record
from robustbench_kd.results.store import proof_of

POLICY = (
    "default-src 'none'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; "
    "script-src 'self'; base-uri 'none'; form-action 'none'"
)
STATIC = ("style.css", "script.js")
UP = "../../"  # from the page of a board to the top


def build(found: Sequence[Facts], out: Path, title: str = "robustbench-kd") -> list[Path]:
    """Writes the whole site below a folder; all links in it are relative.

    Files of an earlier site are replaced where they have the same name, and nothing is removed.

    Raises:
        SaveFailed: where the folder cannot be written.
    """
    expect_writable(out)
    written = [_put(out / "assets" / name, (ASSETS / name).read_bytes()) for name in STATIC]
    for facts in found:
        written += _board(facts, out)
    page = render(
        "index.html.j2",
        policy=POLICY,
        title=title,
        count=counted(found),
        boards=_contents(found),
    )
    return [*written, _put(out / "index.html", page.encode())]


def _board(facts: Facts, out: Path) -> list[Path]:
    """The page of a board, those of its rows, its tables as files, and its records."""
    name, title = facts.contest.name, facts.contest.title
    files = offered(facts)
    folder = out / "boards" / name
    pages = rows(facts)
    links = {facts.body(page.records[0])["id"]: f"{page.slug}.html" for page in pages}
    facts = replace(facts, links=links)
    said = part(facts)
    text = render(
        "board.html.j2",
        policy=POLICY,
        root=UP,
        title=title,
        lead=about(name),
        trail=(("Boards", UP + "index.html"),),
        count=len(facts.entries),
        sections=said.sections,
        missing=said.missing,
        downloads=(("Tables as Markdown", f"{name}.md"), ("Tables as LaTeX", f"{name}.tex")),
    )
    written = [_put(folder / "index.html", text.encode())]
    written.append(_put(folder / f"{name}.md", as_markdown([said]).encode()))
    written.append(_put(folder / f"{name}.tex", as_latex([said]).encode()))
    written += [_put(folder / f"{page.slug}.html", _row(facts, page).encode()) for page in pages]
    return written + [_put(out / "records" / name / file, data) for file, data in files.items()]


def offered(facts: Facts) -> dict[str, bytes]:
    """The records of a board and what lies beside them, by name.

    Raises:
        BadSetting: where two different files have one name.
    """
    found: dict[str, bytes] = {}
    for entry in facts.entries:
        for file in (entry.path, *evidence(entry)):
            data = read_bytes(file)
            if found.setdefault(file.name, data) != data:
                raise BadSetting(
                    f"two files are called {file.name}, and {file} is one of them; rename it, so "
                    "that the site can offer both"
                )
    return found


def about(board: str) -> str:
    """What a board asks, in the sentence that its file begins with."""
    return find("leaderboards", board).summary()


def evidence(entry: Entry) -> tuple[Path, ...]:
    """The file that a record names by its digest, where it lies beside the record."""
    if not isinstance(entry.record, Record | Planted | Probed):
        return ()
    proof = proof_of(entry.record, entry.path)
    return (proof[0],) if proof and proof[0].is_file() else ()


def _row(facts: Facts, page: Row) -> str:
    name = facts.contest.name
    blocks = [Said(f"part{n}", title, block) for n, (title, block) in enumerate(page.blocks)]
    entries = [Entry(facts.path(record), record) for record in page.records]
    files = [("Record", entry.path.name) for entry in entries]
    proofs = dict.fromkeys(file.name for entry in entries for file in evidence(entry))
    files += [("Evidence", name) for name in proofs]
    return render(
        "board.html.j2",
        policy=POLICY,
        root=UP,
        title=page.title,
        trail=(("Boards", UP + "index.html"), (facts.contest.title, "index.html")),
        lead="",
        count=len(entries),
        sections=blocks,
        missing=(),
        downloads=[(f"{what} {file}", f"{UP}records/{name}/{file}") for what, file in files],
    )


def _contents(found: Sequence[Facts]) -> Table:
    lines = tuple(
        (
            word(facts.contest.title, href=f"boards/{facts.contest.name}/index.html"),
            word(about(facts.contest.name)),
            word(facts.contest.scenario),
            word(facts.contest.door),
            number(len(facts.contest.panel)),
            number(len(facts.contest.defenses)),
            number(len(facts.entries)),
        )
        for facts in found
    )
    heads = ("board", "about", "scenario", "door", "attacks", "defenses", "records")
    return Table("Leaderboards", heads, lines, facets=("scenario", "door"))


def _put(path: Path, data: bytes) -> Path:
    write_whole(path, data)
    return path
