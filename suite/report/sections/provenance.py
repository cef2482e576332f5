"""Where every number comes from: records, networks, data, versions, and how to make it again."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from robustbench_kd.records import Json
from robustbench_kd.report.blocks import Block, Cell, Facts, Kept, Section, Table, number, word

HEADS = ("record", "about", "seed", "file", "schema", "examples", "versions", "CPU seconds")
NOTE = (
    "A record is named by the first 12 digits of the SHA-256 of everything in it, and so are the "
    "examples; a damaged or edited one is refused. verify asks the networks again."
)


def provenance(facts: Facts) -> Block:
    """A line a record, of whatever kind."""
    return sources(facts, [entry.record for entry in facts.entries])


def sources(facts: Facts, records: Sequence[Kept]) -> Block:
    """Provenance of some records, and the commands that make one again and check it."""
    lines = [_line(facts, record) for record in records]
    same = [n for n, column in enumerate(zip(*lines, strict=True)) if _alike(column) and n > 3]
    shared = "; ".join(f"{HEADS[n]} {lines[0][n].text}" for n in same)
    left = [n for n in range(len(HEADS)) if n not in same]
    table = Table(
        "Provenance",
        tuple(HEADS[n] for n in left),
        tuple(tuple(line[n] for n in left) for line in lines),
    )
    body = facts.body(records[0])
    return Block(
        words=(NOTE, f"Of all of these: {shared}.") if shared else (NOTE,),
        tables=(table,),
        codes=tuple(commands(body, facts.path(records[0]).name)),
    )


def _alike(column: Sequence[Cell]) -> bool:
    return len({cell.text for cell in column}) == 1


def commands(body: Json, file: str) -> list[str]:
    """How the first of the records is made again, and how it is checked."""
    defense, board = shlex.quote(label_of(body)), shlex.quote(str(body.get("board", "")))
    trains = " --train" if "subjects" in body else ""  # networks of its own, which do not ship
    made = f"robustbench-kd evaluate{trains} --board {board} --defense {defense}"
    if body.get("attack"):
        made += f" --attack {shlex.quote(str(body['attack']))}"
    return [f"{made} --seed {body.get('seed', 0)}", f"robustbench-kd verify {shlex.quote(file)}"]


def label_of(body: Json) -> str:
    """What a record of any kind calls its defense."""
    defense = body.get("defense")
    return str(defense.get("label", "")) if isinstance(defense, dict) else ""


def _line(facts: Facts, record: Kept) -> tuple[Cell, ...]:
    body = facts.body(record)
    about = " on ".join(str(part) for part in (body.get("attack"), label_of(body)) if part)
    versions = ", ".join(f"{name} {said}" for name, said in sorted(body["versions"].items()))
    seconds = float(body.get("spent", {}).get("cpu_seconds", 0.0))
    return (
        word(body["id"][:12]),
        word(about),
        number(body.get("seed", 0)),
        word(facts.path(record).name),
        word(body["schema"]),
        word(str(body["data"].get("examples", ""))[:12]),
        word(versions),
        number(seconds, f"{seconds:,.1f}"),
    )


SECTIONS = (Section("provenance", "Provenance", 90, provenance),)
