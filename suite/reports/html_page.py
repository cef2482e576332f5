"""A report in one file: no network, no clock, and every name in it is escaped."""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robustbench_kd.core.errors import BrokenPlugin
from robustbench_kd.core.version import current
from robustbench_kd.reports.document import Block, BoardRecords, Figure, Table
from robustbench_kd.reports.formats._escape import latex, markdown
from robustbench_kd.reports.formats.markdown_latex import pipes, tabular
from robustbench_kd.reports.sections import sections
from robustbench_kd.reports.svg import inlined

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

ASSETS = Path(__file__).with_name("assets")
POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; "
    "form-action 'none'"
)


@dataclass(frozen=True)
class BuiltSection:
    """A section of a leaderboard with its content."""

    key: str
    title: str
    block: Block


@dataclass(frozen=True)
class BoardReport:
    """All sections of a leaderboard, and why others are missing."""

    key: str
    title: str
    sections: tuple[BuiltSection, ...]
    missing: tuple[str, ...]


def board_report(board: BoardRecords) -> BoardReport:
    """Builds every section that these records have the content for."""
    built, missing = [], []
    name = board.leaderboard.name
    for section in sections():
        block = section.build(board)
        if isinstance(block, str):
            missing.append(block)
        elif block is not None:
            built.append(BuiltSection(f"{name}-{section.name}", section.title, block))
    return BoardReport(name, board.leaderboard.title, tuple(built), tuple(missing))


def as_html(reports: Sequence[BoardReport], title: str, count: int) -> str:
    """The reports as one page that sends no request.

    Args:
        count: of records.
    """
    style, script = (_asset(name) for name in ("style.css", "script.js"))
    sha256 = b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return render(
        "report.html.j2",
        inside=True,
        style=style,
        script=script,
        policy=f"{POLICY}; script-src 'sha256-{sha256}'",
        title=title,
        count=count,
        reports=reports,
    )


def as_markdown(reports: Sequence[BoardReport]) -> str:
    """The tables of the reports, as pipe tables."""
    return "\n".join(
        f"### {title}: {markdown(table.caption)}\n\n{pipes(*_plain(table), '')}"
        for title, table in _tables(reports)
    )


def as_latex(reports: Sequence[BoardReport]) -> str:
    """The tables of the reports, as tabulars with the rules of booktabs."""
    return "\n".join(
        tabular(*_plain(table), f"{title}: {latex(table.caption)}")
        for title, table in _tables(reports)
    )


def _tables(reports: Sequence[BoardReport]) -> list[tuple[str, Table]]:
    """Every table with the title of its section."""
    return [
        (section.title, table)
        for report in reports
        for section in report.sections
        for table in section.block.tables
    ]


def _plain(table: Table) -> tuple[list[str], list[list[str]]]:
    return list(table.heads), [[cell.text for cell in row] for row in table.rows]


def render(template: str, **values: Any) -> str:
    """A page; every value is escaped but drawings and the package's own style and script."""
    from markupsafe import Markup

    for name in ("style", "script"):
        if name in values:
            values[name] = Markup(values[name])
    values = {"trail": (), "inside": False, "root": "", "version": current(), **values}
    return _environment().get_template(template).render(values)


@cache
def _environment() -> Environment:
    try:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined
    except ImportError as why:
        raise BrokenPlugin("pages need jinja2; run: pip install 'robustbench-kd[report]'") from why
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(ASSETS),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )

    def drawing(figure: Figure, key: str) -> Markup:
        return Markup(inlined(figure.svg, key, figure.title, figure.description))

    environment.globals |= {"drawing": drawing, "data_url": _data_url, "breakable": _breakable}
    return environment


def _breakable(text: str) -> Markup:
    """A name that a browser may break behind its signs, and nowhere else; no number is broken."""
    from markupsafe import Markup, escape

    parts = re.split(r"(?<=[:=_/])(?=\S)|(?<=,)(?=[^\s\d])", text)
    return Markup("<wbr>").join(escape(part) for part in parts)


def _data_url(png: bytes) -> str:
    return "data:image/png;base64," + b64encode(png).decode()


def _asset(name: str) -> str:
    return (ASSETS / name).read_text(encoding="utf-8")
