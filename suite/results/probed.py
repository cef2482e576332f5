"""Probed records: what was planted, piece by piece, and how well each network knows it.

This room needs no torch, like those of the other records.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from robustbench_kd.core.errors import BadRecord
from robustbench_kd.results.record import Json, canonical, digest, unsealed

SCHEMA = "robustbench-kd.probed/1"
Columns = dict[str, list[float]]


@dataclass(frozen=True)
class Known:
    """What one network knows: columns by attack, a number for each item, and of the test rows.

    ``nats`` is its surprise at each test row.
    """

    weights: str
    key: str
    net: str
    columns: Mapping[str, Columns]
    nats: list[float]


@dataclass(frozen=True)
class Probed:
    """One defense under the attacks of a board that tries them together, for one seed.

    ``subjects`` are ``student``, ``control`` (the same student without a teacher), ``teacher-ROLE``
    and ``untouched``, which saw none of the private data; where attacks are tried one by one, the
    first three also as their clean twins. ``items`` holds, by attack, the ids, doses and families
    of what was asked about; ``test`` the asked tokens (or images) of each test row and the bytes
    that they stand for.
    """

    board: str
    scenario: str
    door: str
    attacks: Json  # settings by attack as typed
    planted: Json  # planted, covers, of, ids
    defense: Json  # name, settings, label, needs
    seed: int
    data: Json  # edition, examples, count
    items: Mapping[str, Json]
    test: Mapping[str, list[int]]
    subjects: Mapping[str, Known]
    versions: Json
    spent: Json  # CPU seconds; not part of any claim
    schema: str = SCHEMA

    @property
    def label(self) -> str:
        """The defense as one types it."""
        label: str = self.defense["label"]
        return label

    def json(self) -> Json:
        """The record as plain JSON, its own digest included."""
        flat = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        flat["subjects"] = {name: vars(known) for name, known in self.subjects.items()}
        body: Json = json.loads(canonical(flat))
        return {**body, "id": digest(body)}

    @property
    def claim(self) -> str:
        """SHA-256 of all but the time it took."""
        return digest({k: v for k, v in self.json().items() if k not in ("spent", "id")})

    def column(self, subject: str, attack: str, name: str) -> list[float]:
        """A column of a subject, by the attack's name without settings.

        Raises:
            BadRecord: where the record holds none.
        """
        typed = self.typed(attack)
        found = self.subjects[subject].columns[typed] if typed else {}
        if name not in found:
            raise BadRecord(f"the record of {self.label} holds no {name} of {attack}")
        return found[name]

    def typed(self, attack: str) -> str | None:
        """The attack as it was typed; None where it was not tried."""
        return next((text for text in self.attacks if text.partition(":")[0] == attack), None)


def rounded(values: Sequence[float]) -> list[float]:
    """Numbers as a record keeps them: six digits."""
    return [int(v) if v == int(v) else float(f"{v:.6g}") for v in values]


def parse_probed(body: Json, where: str) -> Probed:
    """The probed record in a document that was read already.

    Raises:
        BadRecord: where it is damaged, or contradicts itself.
    """
    try:
        body = unsealed(body, where)
        subjects = {name: Known(**one) for name, one in body["subjects"].items()}
        record = Probed(**{**body, "subjects": subjects})
        _consistent(record, where)
    except (ValueError, KeyError, TypeError, AttributeError) as why:
        raise BadRecord(f"{where} is no record: {type(why).__name__}: {why}") from why
    return record


def _consistent(record: Probed, where: str) -> None:
    beside = "teacher-given" if "given" in record.defense["needs"] else "control"
    if not {"student", beside} <= set(record.subjects):
        raise BadRecord(f"{where} lacks the answers of its student or of its {beside}")
    rows = len(record.test["asked"])
    for name, known in record.subjects.items():
        if len(known.nats) != rows:
            raise BadRecord(f"{where}: its {name} was asked about another number of test rows")
        if set(known.columns) != set(record.items):
            raise BadRecord(f"{where}: its {name} was not tried by every attack")
        for attack, columns in known.columns.items():
            count = len(record.items[attack]["ids"])
            if any(len(values) != count for values in columns.values()):
                raise BadRecord(f"{where}: {attack} asked {name} about another number of items")
            ranks = zip(columns.get("rank", ()), columns.get("of", ()), strict=True)
            if any(not 1 <= rank <= of for rank, of in ranks):
                raise BadRecord(f"{where}: a rank of {name} is outside of its space")
