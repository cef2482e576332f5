"""The record of one evaluation: what was observed, sample by sample, as immutable JSON.

One schema for every threat. A record holds the models that were compared, the attacks that were
run, and for each attack and model its columns: a bit or a number a sample. ``clean`` is an entry
like the attacks: what the models do when nobody attacks. No torch here, so that comparing two
records starts at once.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from robustbench_kd.core.errors import BadRecord
from robustbench_kd.core.estimates import Estimate
from robustbench_kd.ops.statistics.bitset import number_of, pack, text_of, unpack

SCHEMA = "robustbench-kd.record/2"
CLEAN = "clean"
COUNTERPART = ".clean"
"""Suffix of a model that was trained on the same data without the poison."""
Json = dict[str, Any]


def canonical(value: Any) -> str:
    """JSON with sorted keys, no spaces and no NaN: the same text for the same value."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(value: Any) -> str:
    """SHA-256 of the canonical JSON."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


@dataclass(frozen=True)
class Bits:
    """A bit a sample, packed."""

    count: int
    bits: str

    @classmethod
    def of(cls, flags: Sequence[bool]) -> Bits:
        """Flags, packed."""
        return cls(len(flags), pack(flags))

    @cached_property
    def number(self) -> int:
        """All bits as one whole number; the first sample is the highest bit."""
        return number_of(self.bits, self.count)

    @property
    def flags(self) -> list[bool]:
        return unpack(self.bits, self.count)

    @property
    def share(self) -> Estimate:
        """The share of ones, with Wilson's interval."""
        return Estimate.share(self.number.bit_count(), self.count)

    def json(self) -> Json:
        return {"count": self.count, "ones": self.number.bit_count(), "bits": self.bits}


Numbers = tuple[float, ...]
Column = Bits | Numbers


def every(columns: Sequence[Bits]) -> Bits:
    """The samples whose bit is set in all of these columns."""
    joined = columns[0].number
    for column in columns[1:]:
        joined &= column.number
    return Bits(columns[0].count, text_of(joined, columns[0].count))


@dataclass(frozen=True)
class AttackResult:
    """One attack on every model that was compared.

    Attributes:
        settings: of the attack.
        scorer: which of our scorers decided.
        columns: by model and name.
        samples: what the samples are, one value each: ids, repetitions, formats, tokens, bytes.
        eligible: the test inputs on which the adversary could win, where columns hold those alone.
        passes: forward and backward passes of single samples, where they were counted.
        metadata: summaries of what the attack reported; never a verdict.
    """

    settings: Json
    scorer: str
    columns: Mapping[str, Mapping[str, Column]]
    samples: Mapping[str, list[Any]] = field(default_factory=dict)
    eligible: Bits | None = None
    passes: Mapping[str, int] = field(default_factory=dict)
    metadata: Json = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def json(self) -> Json:
        columns = {
            model: {name: _plain(column) for name, column in named.items()}
            for model, named in self.columns.items()
        }
        body = {
            "settings": self.settings,
            "scorer": self.scorer,
            "columns": columns,
            "samples": self.samples,
            "eligible": self.eligible.json() if self.eligible else None,
            "passes": self.passes,
            "metadata": self.metadata,
            "warnings": list(self.warnings),
        }
        return {name: value for name, value in body.items() if value or name == "settings"}


@dataclass(frozen=True)
class Record:
    """One defense (or somebody's model) under the attacks of a leaderboard, for one seed.

    Files are never edited; a correction is another record.

    Attributes:
        defense: name, label, settings, teacher_roles, oracle; for a model of one's own its name.
        limit: evaluated on the first so many test samples only; None for all of them.
        data: dataset_digest, examples (digest), ids (digest), count, classes.
        threat: capability; for attacks on test data also norm and eps.
        poison: count, cover_count, train_size, ids_digest; empty where no data were poisoned.
        models: by role: weights (digest), recipe_digest, architecture, and what else is known.
            Roles are ``student``, ``control`` (the same student without a teacher),
            ``teacher-ROLE``, ``pretrained``, and each with ``.clean`` for its clean counterpart.
        attacks: ``clean`` first, then as they were run, by label.
        full_test: attacks on the whole test set.
        evidence: sha256, bytes (and rows) of the file of stored inputs; empty where submissions
            are made anew to verify them.
        compute: CPU seconds; not part of any claim.
    """

    board: str
    scenario: str
    defense: Json
    seed: int
    limit: int | None
    data: Json
    threat: Json
    poison: Json
    models: Mapping[str, Json]
    attacks: Mapping[str, AttackResult]
    full_test: Mapping[str, AttackResult]
    evidence: Json
    sanity_checks: Json
    warnings: tuple[str, ...]
    versions: Json
    compute: Json
    schema: str = SCHEMA

    @property
    def label(self) -> str:
        """The defense as one types it, or the name of somebody's model."""
        label: str = self.defense["label"]
        return label

    @property
    def capability(self) -> str:
        """What the adversary controlled."""
        capability: str = self.threat["capability"]
        return capability

    @property
    def student(self) -> Json:
        """What is known of the student."""
        return self.models["student"]

    @property
    def attack_labels(self) -> list[str]:
        """The attacks besides ``clean``, as typed."""
        return [label for label in self.attacks if label != CLEAN]

    def result(self, attack: str) -> AttackResult:
        """The result of an attack, by its name or as it was typed.

        Raises:
            BadRecord: where the record has none.
        """
        return self.attacks[self.typed(attack)]

    def typed(self, attack: str) -> str:
        """The label of an attack, by its name or as it was typed.

        Raises:
            BadRecord: where the record has none.
        """
        for label in self.attacks:
            if attack in (label, label.partition(":")[0]):
                return label
        raise BadRecord(f"the record of {self.label} on {self.board} has no attack {attack!r}")

    def column(self, attack: str, model: str, name: str) -> Column:
        """A column by attack, model and name.

        Raises:
            BadRecord: where the record has none.
        """
        column = self.result(attack).columns.get(model, {}).get(name)
        if column is None:
            raise BadRecord(
                f"the record of {self.label} on {self.board} holds no {name} of {attack} on {model}"
            )
        return column

    def bits(self, attack: str, model: str, name: str) -> Bits:
        """A column of bits.

        Raises:
            BadRecord: where there is none.
        """
        column = self.column(attack, model, name)
        if not isinstance(column, Bits):
            raise BadRecord(f"{name} of {attack} holds numbers where bits were expected")
        return column

    def numbers(self, attack: str, model: str, name: str) -> Numbers:
        """A column of numbers; bits are read as 0 and 1.

        Raises:
            BadRecord: where there is none.
        """
        column = self.column(attack, model, name)
        return tuple(map(float, column.flags)) if isinstance(column, Bits) else column

    @property
    def robust(self) -> Bits:
        """Which test inputs the student answers correctly under every attack of the panel.

        Raises:
            BadRecord: where the record is about another kind of threat.
        """
        return every([self.bits(label, "student", "correct") for label in self.attacks])

    @property
    def worst(self) -> Estimate:
        """Robust accuracy: the share answered correctly under every attack."""
        return self.robust.share

    @property
    def clean(self) -> Estimate:
        """The student's accuracy when nobody attacks."""
        return self.bits(CLEAN, "student", "correct").share

    def json(self) -> Json:
        """The record as plain JSON, its own digest included."""
        text = canonical(self._body())
        return {**json.loads(text), "id": hashlib.sha256(text.encode()).hexdigest()}

    def _body(self) -> Json:
        body = {part.name: getattr(self, part.name) for part in dataclasses.fields(self)}
        for part in ("attacks", "full_test"):
            body[part] = {label: result.json() for label, result in body[part].items()}
        # JSON sorts keys; the order of attacks is the order of the panel.
        return body | {"panel": list(self.attacks)}

    @cached_property
    def id(self) -> str:
        """SHA-256 of everything else in the record."""
        return digest(self._body())

    @cached_property
    def claim(self) -> str:
        """SHA-256 of all but the time it took: the same run, made again, makes the same claim."""
        return digest({name: value for name, value in self._body().items() if name != "compute"})


def rounded(values: Iterable[float]) -> Numbers:
    """Numbers as a record keeps them: six significant digits."""
    return tuple(int(v) if v == int(v) else float(f"{v:.6g}") for v in values)


def counterpart(role: str) -> str:
    """The clean counterpart of a model."""
    return role + COUNTERPART


def _plain(column: Column) -> Any:
    return column.json() if isinstance(column, Bits) else list(column)
