"""Everything that has a name: found by its file, loaded only when it is asked for.

A file of ours is an entry because it lies in its folder: ``attacks/evasion/carlini_wagner.py`` is
the attack ``carlini-wagner``. Third parties add entries through the entry-point groups
``robustbench_kd.attacks``, ``.defenses``, ``.scenarios`` and ``.leaderboards``. Listing imports
neither torch nor anything that a plug-in needs.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, cast

from robustbench_kd.core.config import Leaderboard
from robustbench_kd.core.errors import BrokenPlugin, UnknownName

KINDS = ("attacks", "defenses", "scenarios", "leaderboards")
BRIDGES = ("torchattacks", "art")
NOT_ENTRIES = {"images"}


@dataclass(frozen=True)
class Entry:
    """A name and where it comes from: the path of our file, or somebody's entry point."""

    kind: str
    name: str
    module: str
    attribute: str | None
    path: Path | None
    clash: str = ""

    @property
    def ours(self) -> bool:
        """Whether it ships with this package."""
        return self.path is not None

    def load(self) -> Any:
        """The class (or, for leaderboards, the value) behind the name.

        Raises:
            BrokenPlugin: where it cannot be imported, with the reason.
        """
        if self.clash:
            raise BrokenPlugin(self.clash)
        try:
            module = importlib.import_module(self.module)
            if self.attribute is not None:
                return getattr(module, self.attribute)
        except Exception as why:  # a plug-in may fail in any way; it is named and re-raised
            if self.path is not None:
                raise
            raise BrokenPlugin(
                f"{self.kind[:-1]} {self.name!r} comes from {self.module}, which cannot be "
                f"imported: {type(why).__name__}: {why}"
            ) from why
        for value in vars(module).values():
            ours = not isinstance(value, type) or value.__module__ == self.module
            if ours and getattr(value, "name", None) == self.name:
                return value
        raise BrokenPlugin(f"{self.module} defines nothing with the name {self.name!r}")

    def summary(self) -> str:
        """The first line of the docstring, read without importing; empty for a plug-in."""
        if self.path is None:
            return f"from {self.module}"
        text = ast.get_docstring(ast.parse(self.path.read_text(encoding="utf-8"))) or ""
        return text.partition("\n")[0]


def entries(kind: str) -> dict[str, Entry]:
    """All entries of a kind by name, in alphabetical order.

    Where two distributions claim one name, nobody gets it: its entry says so when it is loaded.
    """
    found = {entry.name: entry for entry in _ours(kind)}
    for point in sorted(entry_points(group=f"robustbench_kd.{kind}"), key=lambda p: p.name):
        entry = _theirs(kind, point)
        if point.name in found:
            clash = (
                f"two {kind} are called {point.name!r}: {found[point.name].module} and "
                f"{point.module}; uninstall or rename one of them"
            )
            entry = replace(entry, clash=clash)
        found[point.name] = entry
    return dict(sorted(found.items()))


def find(kind: str, name: str) -> Entry:
    """The entry of this name; ``torchattacks:MIFGSM`` finds the bridge of its first word.

    Raises:
        UnknownName: with the nearest known name.
    """
    known = entries(kind)
    if name not in known:
        raise UnknownName(kind[:-1], name, known)
    return known[name]


def board_of(name: str) -> Leaderboard:
    """The leaderboard of this name.

    Raises:
        UnknownName: with the nearest known name.
    """
    return cast(Leaderboard, find("leaderboards", name).load())


def split_name(text: str) -> tuple[str, str | None, str]:
    """A name as typed -> (entry, class of a bridge, settings), as in ``art:DeepFool``."""
    name, _, rest = text.partition(":")
    if name in BRIDGES:
        inner, _, rest = rest.partition(":")
        return name, inner, rest
    return name, None, rest


@cache
def _folder(kind: str) -> Path:
    spec = importlib.util.find_spec(f"robustbench_kd.{kind}")
    if spec is None or not spec.submodule_search_locations:
        raise BrokenPlugin(f"this install lacks robustbench_kd.{kind}; install it again")
    return Path(next(iter(spec.submodule_search_locations)))


def _ours(kind: str) -> Iterator[Entry]:
    root = _folder(kind)
    for path in sorted(root.rglob("*.py")):
        inside = path.relative_to(root)
        if path.stem.startswith("_") or path.stem in NOT_ENTRIES or "__pycache__" in inside.parts:
            continue
        module = ".".join(("robustbench_kd", kind, *inside.with_suffix("").parts))
        yield Entry(kind, path.stem.replace("_", "-"), module, None, path)


def _theirs(kind: str, point: EntryPoint) -> Entry:
    return Entry(kind, point.name, point.module, point.attr, None)
