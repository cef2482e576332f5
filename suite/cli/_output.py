"""How the commands speak: data on stdout, progress on stderr, or one JSON document."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click

SCHEMA = "robustbench-kd.cli/1"
WIDE = 160  # columns of a table that no terminal bounds
ProgressCallback = Callable[[str, int, int, str], None]


def json_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--json``: one document on stdout in place of text."""
    return click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")(
        command
    )


def document(command: str, **fields: Any) -> None:
    """Prints the JSON document of a command that worked."""
    emit({"schema": SCHEMA, "command": command, "ok": True, **fields})


def emit(value: dict[str, Any]) -> None:
    """Prints JSON."""
    import json

    click.echo(json.dumps(value, indent=1, sort_keys=True, allow_nan=False))


def show(*parts: Any) -> None:
    """Prints tables and text on stdout, as wide as the terminal, or wide where there is none."""
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else WIDE, highlight=False)
    for part in parts:
        console.print(part, markup=False, soft_wrap=isinstance(part, str))


def width() -> int:
    """Columns that a table may take."""
    import shutil

    return shutil.get_terminal_size().columns if sys.stdout.isatty() else WIDE


@contextmanager
def progress() -> Iterator[ProgressCallback]:
    """A bar on a terminal; elsewhere a line for each step, and for each tenth of a long one."""
    if not sys.stderr.isatty():
        yield Lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.fields[note]}", markup=False),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task("", total=None, note="")

        def on_progress(stage: str, done: int, total: int, note: str) -> None:
            bars.update(task, description=stage, completed=done, total=total, note=note)

        yield on_progress


class Lines:
    """Progress where nobody watches: short, and never twice the same."""

    def __init__(self) -> None:
        self.last: tuple[str, int] = ("", -1)

    def __call__(self, stage: str, done: int, total: int, note: str) -> None:
        now = (stage, 10 * done // max(total, 1))
        if now != self.last:
            self.last = now
            click.echo(f"{stage} {done}/{total} {note}".rstrip(), err=True)
