"""Where every number comes from: records, networks, data, versions, and how to make it again."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from robustbench_kd.evaluation.verification_levels import level_of
from robustbench_kd.reports.document import Block, Cell, Facts, Kept, Section, Table, number, word
from robustbench_kd.results.record import Json

HEADS = (
    *("record", "about", "seed", "file"),
    *("schema", "examples", "versions", "level", "CPU seconds"),
)
NOTE = (
    "A record is named by the first 12 digits of the SHA-256 of everything in it, and so are the "
    "examples; a damaged or edited one is refused. Level L1: bits, counts and intervals agree, and "
    "so does the file beside it. verify asks the networks again (L2), and compares a re-run (L3)."
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
    return Block(
        words=(NOTE, f"Of all of these: {shared}.") if shared else (NOTE,),
        tables=(table,),
        codes=tuple(commands(facts, records[0])),
    )


def _alike(column: Sequence[Cell]) -> bool:
    return len({cell.text for cell in column}) == 1


def commands(facts: Facts, record: Kept) -> list[str]:
    """How a record is made again, and how it is checked."""
    body, file = facts.body(record), shlex.quote(facts.path(record).name)
    name, model = shlex.quote(label_of(body)), body.get("model", {})
    yours = bool(model.get("yours"))  # where its network comes from, only its owner knows
    made = ["robustbench-kd evaluate"]
    made += ["--train"] if "subjects" in body else []  # networks of its own, which do not ship
    made += [f"--board {shlex.quote(record.board)}"]
    made += [f"--model MODULE:FACTORY --name {name}" if yours else f"--defense {name}"]
    if attack := alone(body):
        made.append(f"--attack {shlex.quote(attack)}")
    eps = body.get("threat", {}).get("eps")
    if eps not in (None, facts.contest.budget.amount):
        made.append(f"--eps {eps:g}")
    if body.get("limit") is not None:
        made.append(f"--limit {body['limit']}")
    again = f"{' '.join(made)} --seed {body.get('seed', 0)}"
    return [again, f"robustbench-kd verify {file}"]


def alone(body: Json) -> str:
    """The attack that a record is about; empty where several were planted together."""
    attacks = [body["attack"]] if body.get("attack") else list(body.get("attacks", ()))
    return str(attacks[0]) if len(attacks) == 1 else ""


def label_of(body: Json) -> str:
    """What a record of any kind calls its defense."""
    defense = body.get("defense")
    return str(defense.get("label", "")) if isinstance(defense, dict) else ""


def _line(facts: Facts, record: Kept) -> tuple[Cell, ...]:
    body = facts.body(record)
    about = " on ".join(part for part in (alone(body), label_of(body)) if part)
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
        word(
            facts.once(("level", id(record)), lambda: level_of(facts.path(record)).name or "none")
        ),
        number(seconds, f"{seconds:,.1f}"),
    )


SECTIONS = (Section("provenance", "Provenance", 90, provenance),)
