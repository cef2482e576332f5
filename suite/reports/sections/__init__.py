"""The sections of a page, one a file; a file that is put here is found.

A file holds ``SECTIONS``; where it is about a new kind of records also ``READS`` (what makes such
a record of its JSON and of the path to name in errors, by the name of its schema without the
version) and ``ROWS`` (the pages of a board's rows).
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable
from functools import cache
from importlib import import_module
from types import ModuleType

from robustbench_kd.reports.document import Facts, Kept, Row, Section
from robustbench_kd.results.record import Json


def sections() -> list[Section]:
    """Every section, in the order in which they stand on a page."""
    found = [one for room in _rooms() for one in getattr(room, "SECTIONS", ())]
    return sorted(found, key=lambda section: section.place)


def readers() -> dict[str, Callable[[Json, str], Kept]]:
    """How a record is read, by the name of its schema."""
    return {name: read for room in _rooms() for name, read in getattr(room, "READS", {}).items()}


def rows(facts: Facts) -> list[Row]:
    """A page for every row of a board, whatever kinds of records it has."""
    return [row for room in _rooms() for make in getattr(room, "ROWS", ()) for row in make(facts)]


@cache
def _rooms() -> tuple[ModuleType, ...]:
    names = sorted(one.name for one in pkgutil.iter_modules(__path__))
    return tuple(import_module(f"{__name__}.{name}") for name in names)
