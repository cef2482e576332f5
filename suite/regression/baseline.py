"""Baselines: what robustness was when somebody accepted it, small enough to lie in git.

One cell a line, so that a pull request shows what an update accepts. Who accepted it and when, git
knows; why, the file says. Needs no torch.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from robustbench_kd.core.errors import BadRecord, BadSetting, NotComparable
from robustbench_kd.core.io import read_bytes, write_whole
from robustbench_kd.regression.snapshot import CONTROL, Column, Snapshot
from robustbench_kd.results.record import Json, canonical

SCHEMA = "robustbench-kd.baseline/1"
SAME = "previous"  # an anchor that is the previous baseline is not written twice
Entries = Mapping[str, Snapshot]


@dataclass(frozen=True)
class Baseline:
    """``previous`` is what was last accepted; ``anchor`` what was pinned, against slow drift."""

    previous: Entries
    anchor: Entries
    reason: str

    def updated(self, news: Iterable[Snapshot], reason: str, *, anchor: bool = False) -> Baseline:
        """With these snapshots as the last accepted ones; the anchor stays unless it is asked for.

        What is new to the baseline is its own anchor.
        """
        fresh = _by_name(news)
        pinned = {**fresh, **self.anchor, **(fresh if anchor else {})}
        return Baseline({**self.previous, **fresh}, pinned, _worded(reason))


def accepted(news: Iterable[Snapshot], reason: str) -> Baseline:
    """A first baseline, which is its own anchor.

    Raises:
        BadSetting: without a reason, or where two snapshots are about the same student.
    """
    fresh = _by_name(news)
    return Baseline(fresh, fresh, _worded(reason))


def _by_name(news: Iterable[Snapshot]) -> dict[str, Snapshot]:
    found: dict[str, Snapshot] = {}
    for one in news:
        if one.name in found and found[one.name] != one:
            raise BadSetting(f"two records are about {one.name}; a baseline holds one of them")
        found[one.name] = one
    return found


def _worded(reason: str) -> str:
    if not reason.strip():
        raise BadSetting("a baseline needs a reason, for whoever reviews it: --reason TEXT")
    return " ".join(reason.split())


def written(baseline: Baseline) -> str:
    """The file: sorted, one cell a line."""
    parts = {
        "previous": {name: _lines(one) for name, one in sorted(baseline.previous.items())},
        "anchor": {
            name: canonical(SAME) if baseline.previous.get(name) == one else _lines(one)
            for name, one in sorted(baseline.anchor.items())
        },
    }
    text = [f' "schema": {canonical(SCHEMA)}', f' "reason": {canonical(baseline.reason)}']
    for part, entries in parts.items():
        inner = ",\n".join(f"  {canonical(name)}: {lines}" for name, lines in entries.items())
        text.append(f' "{part}": {{\n{inner}\n }}')
    return "{\n" + ",\n".join(text) + "\n}\n"


def _lines(one: Snapshot) -> str:
    about = {k: v for k, v in vars(one).items() if k != "columns"}
    cells = ",\n".join(
        f"   {canonical(name)}: {canonical({**vars(cell), 'right': sum(cell.flags)})}"
        for name, cell in one.columns.items()
    )
    return f'{{"about": {canonical(about)}, "cells": {{\n{cells}\n  }}}}'


def parse_baseline(text: str, where: str) -> Baseline:
    """The baseline in a text.

    Raises:
        BadRecord: where it is none of this schema, is damaged, or contradicts itself.
    """
    try:
        body = json.loads(text)
        if body.get("schema") != SCHEMA:
            raise BadRecord(
                f"{where} has schema {body.get('schema')!r}; this version reads {SCHEMA!r}"
            )
        previous = {name: _read(name, one) for name, one in body["previous"].items()}
        anchor = {
            name: previous[name] if one == SAME else _read(name, one)
            for name, one in body["anchor"].items()
        }
        return Baseline(previous, anchor, body["reason"])
    except (ValueError, KeyError, TypeError, AttributeError) as why:
        raise BadRecord(f"{where} is no baseline: {type(why).__name__}: {why}") from why


def _read(name: str, body: Json) -> Snapshot:
    columns = {}
    for attack, cell in body["cells"].items():
        right = cell.pop("right")
        columns[attack] = Column(**cell)
        if sum(columns[attack].flags) != right:
            raise ValueError(f"{name}: {attack} counts {right} right, its bits do not")
    one = Snapshot(**body["about"], columns=columns)
    if one.name != name or CONTROL not in columns or not one.attacks:
        raise ValueError(f"{name} holds the cells of {one.name}: {', '.join(columns) or 'none'}")
    if one.attack is None and len({column.count for column in columns.values()}) > 1:
        raise ValueError(f"the attacks of {name} were tried on different numbers of examples")
    return one


def load_baseline(path: Path) -> Baseline:
    """The baseline in a file.

    Raises:
        NotComparable: where there is no such file, with the command that makes one.
        BadRecord: where it is damaged.
    """
    if not path.exists():
        raise NotComparable(
            f"there is no baseline {path}; make one of what is accepted today: "
            f"robustbench-kd baseline save RECORD... --baseline {path} --reason TEXT"
        )
    try:
        return parse_baseline(read_bytes(path).decode(), str(path))
    except UnicodeDecodeError as why:
        raise BadRecord(f"{path} is no baseline: {why}") from why


def save_baseline(baseline: Baseline, path: Path) -> None:
    """Writes the file whole or not at all."""
    write_whole(path, written(baseline).encode())
