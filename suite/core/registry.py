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

from robustbench_kd.core import options
from robustbench_kd.core.aliases import ENTRIES, current_name, current_settings
from robustbench_kd.core.config import Leaderboard
from robustbench_kd.core.errors import BadSetting, BrokenPlugin, UnknownName

KINDS = ("attacks", "defenses", "scenarios", "metrics", "leaderboards", "scorers")
MAIN = "fashion-linf"
BRIDGES = ("torchattacks", "art")
FOLDERS = {"scorers": "evaluation.scorers"}


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
            ours = isinstance(value, type) and value.__module__ == self.module
            if (ours or isinstance(value, Leaderboard)) and getattr(value, "name", "") == self.name:
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
    for old in set(ENTRIES.get(kind, {})) & set(found):
        clash = f"{old!r} is an old name of {ENTRIES[kind][old]!r}; rename the entry of {old!r}"
        found[old] = replace(found[old], clash=clash)
    return dict(sorted(found.items()))


def find(kind: str, name: str) -> Entry:
    """The entry of this name; ``torchattacks:MIFGSM`` finds the bridge of its first word.

    Raises:
        UnknownName: with the nearest known name.
    """
    known = entries(kind)
    if name in known:
        return known[name]
    if (current := current_name(kind, name)) in known:
        return known[current]
    raise UnknownName(kind[:-1], name, known)


def board_of(name: str) -> Leaderboard:
    """The leaderboard of this name.

    Raises:
        UnknownName: with the nearest known name.
    """
    return cast(Leaderboard, find("leaderboards", name).load())


def configured(kind: str, text: str, **defaults: Any) -> Any:
    """An entry with its settings as typed (``ard:alpha=0.9``); old names are understood.

    Raises:
        UnknownName: with the nearest known name.
        BadSetting: for settings that do not fit.
    """
    name, inner, rest = split_name(text)
    entry = find(kind, name).load()
    if inner is not None:
        return entry.from_text(inner, rest, **defaults)
    typed = options.parse(rest)
    given = current_settings(entry.name, typed)
    if len(given) < len(typed):
        raise BadSetting(f"{text!r} names one setting twice, by its old name and its new one")
    return options.configure(entry, given, **defaults)


def boards_of(defense: str) -> list[str]:
    """The leaderboards on which a defense stands, by its name without settings; home board first.

    The first is the main leaderboard, if the defense is on it; then those of attacks on test data,
    then the others, each in alphabetical order, and those of the small digits last.
    """
    named = [
        board
        for board in _leaderboards()
        if defense in {label.partition(":")[0] for label in board.defenses}
    ]

    def order(board: Leaderboard) -> tuple[bool, bool, bool, str]:
        return board.name != MAIN, board.scenario == "digits", board.poisons, board.name

    return [board.name for board in sorted(named, key=order)]


def home_board(defense: str) -> str:
    """The leaderboard that a defense is evaluated on unless another is named.

    A defense that stands on none is evaluated on the main one.
    """
    return next(iter(boards_of(defense)), MAIN)


def split_name(text: str) -> tuple[str, str | None, str]:
    """A name as typed -> (entry, class of a bridge, settings), as in ``art:DeepFool``."""
    name, _, rest = text.partition(":")
    if name in BRIDGES:
        inner, _, rest = rest.partition(":")
        return name, inner, rest
    return name, None, rest


def _leaderboards() -> Iterator[Leaderboard]:
    """All that can be loaded: a plug-in that is broken says so where it is named."""
    for entry in entries("leaderboards").values():
        try:
            yield cast(Leaderboard, entry.load())
        except BrokenPlugin:
            continue


@cache
def _folder(kind: str) -> Path:
    spec = importlib.util.find_spec(f"robustbench_kd.{FOLDERS.get(kind, kind)}")
    if spec is None or not spec.submodule_search_locations:
        raise BrokenPlugin(f"this install lacks its {kind}; install it again")
    return Path(next(iter(spec.submodule_search_locations)))


def _ours(kind: str) -> Iterator[Entry]:
    root = _folder(kind)
    for path in sorted(root.rglob("*.py")):
        inside = path.relative_to(root)
        if path.stem.startswith("_") or "__pycache__" in inside.parts:
            continue
        package = FOLDERS.get(kind, kind)
        module = ".".join(("robustbench_kd", package, *inside.with_suffix("").parts))
        yield Entry(kind, path.stem.replace("_", "-"), module, None, path)


def _theirs(kind: str, point: EntryPoint) -> Entry:
    return Entry(kind, point.name, point.module, point.attr, None)
