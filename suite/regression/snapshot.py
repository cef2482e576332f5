"""What a gate needs of a record: a bit or a number a sample for each endpoint. Needs no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from robustbench_kd.core.aliases import stable_label, stable_settings
from robustbench_kd.core.errors import NotComparable
from robustbench_kd.core.registry import board_of, configured
from robustbench_kd.regression.endpoints import Endpoint, Role
from robustbench_kd.results.record import CLEAN, Bits, Column, Record, digest, rounded

UTILITY = ("clean-accuracy", "utility")
"""Metrics of what a student is good for, a bit a sample; texts have the loss on each row."""
TEST_NLL, NLL_MARGIN = "test-nll", 0.05  # nats a token: a perplexity that is 5 % higher
DIGITS = 12  # hexadecimal digits that tell settings apart


@dataclass(frozen=True)
class Snapshot:
    """One student under one threat, as a baseline keeps it.

    Attributes:
        attack: on training data, as typed; empty for attacks on test data, and where several
            attacks share one training set.
        threat: the norm and radius of attacks on test data, or else what the adversary controls.
        endpoints: by name: of the metric, or of the attack.
        user_model: whether somebody brought the network, whose weights do not tell its code.
    """

    board: str
    scenario: str
    label: str
    seed: int
    attack: str
    threat: str
    ids: str
    examples: str
    weights: str
    claim: str
    endpoints: Mapping[str, Endpoint]
    user_model: bool = False

    @property
    def name(self) -> str:
        """``fashion-linf/ard@0``: a later run of the same student has the same name."""
        parts = [self.board, *([self.attack] if self.attack else []), f"{self.label}@{self.seed}"]
        return "/".join(parts)

    @property
    def primary_name(self) -> str:
        return next(name for name, end in self.endpoints.items() if end.role == "primary")

    @property
    def primary(self) -> Endpoint:
        return self.endpoints[self.primary_name]

    @property
    def utility(self) -> Endpoint | None:
        """What the student is good for; None where the record does not say."""
        return next((end for end in self.endpoints.values() if end.role == "utility"), None)

    @property
    def summary(self) -> str:
        """The primary and the utility endpoint in words."""
        return ", ".join(
            f"{name} {end} of {end.count}"
            for name, end in self.endpoints.items()
            if end.role != "attack"
        )


@cache  # looking an entry up takes as long as everything else here
def metric_of(name: str) -> Any:
    """The metric of this name, with its settings as typed."""
    return configured("metrics", name)


@cache
def rank_metric(board: str) -> str:
    """The metric that a leaderboard ranks by, as typed."""
    return board_of(board).rank_by


def snapshot(record: Record) -> Snapshot:
    """The snapshot of a record.

    Raises:
        NotComparable: where it holds no value a sample of the metric its leaderboard ranks by.
    """
    labels = record.attack_labels
    on_test_data = record.capability == "test_data"
    threat = record.threat
    return Snapshot(
        board=record.board,
        scenario=record.scenario,
        label=record.label,
        seed=record.seed,
        attack=labels[0] if not on_test_data and len(labels) == 1 else "",
        threat=f"{threat['norm']} {threat['eps']:g}" if on_test_data else record.capability,
        ids=record.data.get("ids") or "",
        examples=record.data["examples"],
        weights=record.student["weights"],
        user_model=bool(record.student.get("user_model")),
        claim=record.claim,
        endpoints={**_primary(record), **_utility(record), **_attacks(record)},
    )


def _primary(record: Record) -> dict[str, Endpoint]:
    name = rank_metric(record.board)
    metric = metric_of(name)
    values = metric.samples(record) if metric.available(record) else None
    if values is None or not len(values if isinstance(values, tuple) else values.flags):
        raise NotComparable(
            f"the record of {record.label} on {record.board} holds no value a sample of {name}, "
            "which the leaderboard ranks by; evaluate it under the leaderboard's own attacks"
        )
    settings = joint_settings([_settings(record, label) for label in record.attack_labels])
    return {name: _of_metric("primary", name, metric, settings, values)}


def _utility(record: Record) -> dict[str, Endpoint]:
    settings = _settings(record, CLEAN)
    for name in UTILITY:
        metric = metric_of(name)
        values = metric.samples(record) if metric.available(record) else None
        if values is not None:
            return {name: _of_metric("utility", name, metric, settings, values)}
    clean = record.attacks[CLEAN]
    if "test_nll" not in clean.columns["student"]:
        return {}
    nats = record.numbers(CLEAN, "student", "test_nll")
    tokens = clean.samples.get("tokens") or [1] * len(nats)
    # One divisor for all rows, so that the mean is that of the whole text.
    each = sum(tokens) / len(tokens)
    values = rounded(value / each for value in nats)
    return {TEST_NLL: Endpoint("utility", TEST_NLL, settings, values, "nats", False, NLL_MARGIN)}


def _attacks(record: Record) -> dict[str, Endpoint]:
    """Each attack of a panel on test data."""
    if record.capability != "test_data":
        return {}
    name = rank_metric(record.board)
    metric = metric_of(name)
    return {
        label: _of_metric(
            "attack",
            name,
            metric,
            _settings(record, label),
            record.bits(label, "student", "correct"),
        )
        for label in record.attack_labels
    }


def _of_metric(role: Role, name: str, metric: Any, settings: str, values: Column) -> Endpoint:
    column = values if isinstance(values, Bits) else rounded(values)
    return Endpoint(
        role, name, settings, column, metric.unit, metric.higher_is_better, float(metric.margin)
    )


def _settings(record: Record, label: str) -> str:
    result = record.attacks[label]
    parts: list[Any] = [result.eligible.bits] if result.eligible else []
    # How often each sample was inserted follows from the settings or is drawn anew for each seed.
    samples = {name: values for name, values in result.samples.items() if name != "repetitions"}
    return settings_digest(label, result.settings, *parts, *([samples] if samples else []))


def settings_digest(label: str, settings: Mapping[str, Any], *samples: Any) -> str:
    """A digest of an attack and its settings that is the same before and after a renaming."""
    named = stable_settings(label.partition(":")[0], settings)
    return digest([stable_label("attacks", label), named, *samples])[:DIGITS]


def joint_settings(settings: list[str]) -> str:
    """The settings of several attacks as one."""
    return settings[0] if len(settings) == 1 else digest(settings)[:DIGITS]
