"""A report in one file: no network, no clock, and nothing in it that a name could break."""

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
from robustbench_kd.reports.document import Block, Facts, Figure, Table
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
class Said:
    """A section of one board, said."""

    key: str
    title: str
    block: Block


@dataclass(frozen=True)
class Part:
    """All that is said of one board, and why the rest is not."""

    key: str
    title: str
    sections: tuple[Said, ...]
    missing: tuple[str, ...]


def part(facts: Facts) -> Part:
    """Every section that has something to say about these records."""
    said, missing = [], []
    name = facts.contest.name
    for section in sections():
        block = section.build(facts)
        if isinstance(block, str):
            missing.append(block)
        elif block is not None:
            said.append(Said(f"{name}-{section.name}", section.title, block))
    return Part(name, facts.contest.title, tuple(said), tuple(missing))


def as_html(parts: Sequence[Part], title: str, count: int) -> str:
    """The parts as one page that asks nothing of any network."""
    style, script = (_asset(name) for name in ("style.css", "script.js"))
    seal = b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return render(
        "report.html.j2",
        inside=True,
        style=style,
        script=script,
        policy=f"{POLICY}; script-src 'sha256-{seal}'",
        title=title,
        count=count,
        parts_of=parts,
    )


def as_markdown(parts: Sequence[Part]) -> str:
    """The tables of the parts, as pipe tables."""
    text = []
    for one in parts:
        for said in one.sections:
            text += [
                f"### {said.title}: {markdown(table.caption)}\n\n{pipes(*_plain(table), '')}"
                for table in said.block.tables
            ]
    return "\n".join(text)


def as_latex(parts: Sequence[Part]) -> str:
    """The tables of the parts, as tabulars with the rules of booktabs."""
    return "\n".join(
        tabular(*_plain(table), f"{said.title}: {latex(table.caption)}")
        for one in parts
        for said in one.sections
        for table in said.block.tables
    )


def render(template: str, **values: Any) -> str:
    """A page; every value is escaped but drawings, and the style and script of the house."""
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

    house = Environment(
        loader=FileSystemLoader(ASSETS),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )

    def drawn(figure: Figure, key: str) -> Markup:
        return Markup(inlined(figure.svg, key, figure.title, figure.words))

    house.globals |= {"drawn": drawn, "data_of": _data, "breaking": _breaking}
    return house


def _breaking(text: str) -> Markup:
    """A name that may be broken behind its signs, and nowhere else; no number is broken."""
    from markupsafe import Markup, escape

    parts = re.split(r"(?<=[:=_/])(?=\S)|(?<=,)(?=[^\s\d])", text)
    return Markup("<wbr>").join(escape(part) for part in parts)


def _data(png: bytes) -> str:
    return "data:image/png;base64," + b64encode(png).decode()


def _asset(name: str) -> str:
    return (ASSETS / name).read_text(encoding="utf-8")


def _plain(table: Table) -> tuple[list[str], list[list[str]]]:
    return list(table.heads), [[cell.text for cell in line] for line in table.lines]


def counted(found: Sequence[Facts]) -> int:
    """How many records these are."""
    return sum(len(facts.entries) for facts in found)
