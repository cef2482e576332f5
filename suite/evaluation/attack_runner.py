"""One attack on one student, judged, and kept so that a run that was cut off goes on after it."""

from __future__ import annotations

import math
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from robustbench_kd.core import options, registry
from robustbench_kd.core.config import Budget, Doubt, Leaderboard
from robustbench_kd.core.errors import BadSetting, Incompatible
from robustbench_kd.core.protocols import AnyAttack, Case, Scenario, WhiteBox
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.tensor_types import Mask, PerExample
from robustbench_kd.core.types import Evidence, Examples, Splits
from robustbench_kd.core.version import current
from robustbench_kd.evaluation.sanity_checks import examine
from robustbench_kd.evaluation.scorer import judge
from robustbench_kd.models.statistics import weights_digest
from robustbench_kd.ops.attacks.gradients import input_gradient
from robustbench_kd.ops.statistics.bitset import pack
from robustbench_kd.results.artifacts import find_cell, save_cell
from robustbench_kd.results.record import Cell, Json, digest

KINDS = 32  # a column of more values than this holds amounts
ENGINE = 1  # raised whenever an attack or the judge may answer differently for the same settings


@dataclass(frozen=True)
class Trial:
    """A network and the ground it is tried on; ``weights`` is the digest of the network.

    ``answers`` is the fingerprint of somebody's own network, whose weights do not tell its code.
    """

    scenario: Scenario
    net: nn.Module
    weights: str
    test: Examples
    seed: int
    answers: str | None = None


@dataclass(frozen=True)
class Outcome:
    """What an attack achieved: the cell of the record, and by example what proves it."""

    cell: Cell
    right: Mask
    codes: Tensor


def versions() -> Json:
    """What a record was made with."""
    return {
        "robustbench-kd": current(),
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": np.__version__,
    }


def attack_of(text: str, board: Leaderboard) -> AnyAttack:
    """The attack as typed; radius and norm are the board's unless they are given.

    An attack that does not know the board's norm (Carlini & Wagner's is L2) keeps its own of both.
    """
    name, inner, rest = registry.split_name(text)
    entry = registry.find("attacks", name).load()
    given: dict[str, Any] = {"eps": board.budget.amount, "norm": board.budget.kind}
    if board.budget.kind not in getattr(entry, "norms", (board.budget.kind,)):
        given = {}
    if board.door != "input":
        given = {"door": board.door}
    if inner is not None:
        return cast(AnyAttack, entry.from_text(inner, rest, **given))
    return cast(AnyAttack, options.configure(entry, options.parse(rest), **given))


def within(board: Leaderboard, eps: float | None) -> Leaderboard:
    """The board with another radius for its attacks; itself where none is given.

    Raises:
        BadSetting: for a radius that is none.
    """
    return board if eps is None else replace(board, budget=Budget(board.budget.kind, eps))


def ball_of(attacks: Mapping[str, AnyAttack], board: Leaderboard) -> Budget:
    """The one ball that all of these attacks move in: a worst case over several means nothing.

    Raises:
        BadSetting: naming two attacks that differ.
    """
    balls = {text: a.threat.budget for text, a in attacks.items() if a.threat.budget is not None}
    if not balls:
        return board.budget
    first = next(iter(balls))
    for text, ball in balls.items():
        if ball != balls[first]:
            raise BadSetting(
                f"{first} moves within {balls[first]} and {text} within {ball}; a worst case needs "
                "one ball, so try them one by one, or give them the same eps and norm"
            )
    return balls[first]


def expect_inputs(text: str, attack: AnyAttack) -> None:
    """Refuses an attack on training data, which needs students of its own.

    Raises:
        BadSetting: naming the boards that try it.
    """
    if attack.threat.door != "input":
        raise BadSetting(
            f"{text} acts on training data, so it needs a board behind that door: "
            "fashion-backdoor or fashion-poisoning"
        )


def meet(trial: Trial, text: str, attack: AnyAttack) -> None:
    """Refuses an attack that asks for more than the subject offers.

    Raises:
        Incompatible: before anything is spent.
    """
    if not isinstance(trial.scenario.subject(trial.net), attack.meets):
        raise Incompatible(text, f"a {attack.meets.__name__}", trial.scenario.name)


def attempt(trial: Trial, text: str, attack: AnyAttack) -> Outcome:
    """Tries the attack, or takes the outcome of an earlier try of the same question."""
    question = {
        "engine": ENGINE,
        "weights": trial.weights,
        "answers": trial.answers,
        "attack": text,
        "settings": options.written(attack),
        "examples": examples_digest(trial.test),
        "seed": trial.seed,
    }
    key = digest(question)
    found = find_cell(key)
    if found is not None:
        tensors, card = found
        kept = {**card["cell"], "doubts": tuple(card["cell"]["doubts"])}
        return Outcome(Cell(**kept), tensors["right"], tensors["codes"])
    subject = trial.scenario.subject(trial.net)
    nothing = trial.test.take(torch.arange(0))
    data, seed = Splits(nothing, nothing, trial.test), Seed(trial.seed) / text
    secret = attack.before(data, seed / "before").secret
    exhibit = attack.after(subject, data, secret, seed / "after")
    passes = getattr(subject, "passes", None)
    spent = (passes.forward, passes.backward) if passes is not None else (0, 0)
    verdict = judge(exhibit, subject, Case(attack.threat, trial.scenario, data))
    outcome = _outcome(trial, text, attack, verdict, spent)
    save_cell(
        key,
        {"right": outcome.right, "codes": outcome.codes},
        {"cell": asdict(outcome.cell), "question": question},
    )
    return outcome


def checked(trial: Trial, subject: WhiteBox, ball: Budget) -> tuple[Json, frozenset[Doubt]]:
    """What ``health.examine`` finds, or found in an earlier run of the same question."""
    question = {
        "engine": ENGINE,
        "what": "health",
        "weights": trial.weights,
        "answers": trial.answers,
        "ball": asdict(ball),
        "examples": examples_digest(trial.test),
        "seed": trial.seed,
    }
    key = digest(question)
    if (found := find_cell(key)) is not None:
        return found[1]["health"], frozenset(Doubt(text) for text in found[1]["doubts"])
    health, doubts = examine(subject, trial.test, ball, Seed(trial.seed) / "health")
    save_cell(key, {}, {"health": health, "doubts": sorted(doubts), "question": question})
    return health, doubts


def examples_digest(examples: Examples) -> str:
    """SHA-256 of inputs and targets."""
    return weights_digest({"inputs": examples.inputs, "targets": examples.targets})


def fingerprint(subject: WhiteBox, test: Examples) -> str:
    """SHA-256 of what a network answers to the first images, and of how its answers slope there."""
    x = test.inputs[:64]
    slopes = input_gradient(lambda z: subject.logits(z).square().sum(1), x)
    with torch.inference_mode():
        return weights_digest({"scores": subject.logits(x), "slopes": slopes})


def _outcome(
    trial: Trial, text: str, attack: AnyAttack, verdict: Evidence, spent: tuple[int, int]
) -> Outcome:
    right = verdict.columns["right"].bool().cpu()
    codes = verdict.codes
    cell = Cell(
        attack=text,
        settings=options.written(attack),
        seed=trial.seed,
        count=len(right),
        right=int(right.sum()),
        bits=pack(right.tolist()),
        forward=spent[0],
        backward=spent[1],
        notes=_notes({k: v for k, v in verdict.columns.items() if k != "right"}),
        doubts=tuple(sorted(doubt.value for doubt in verdict.doubts)),
    )
    return Outcome(cell, right, torch.zeros(0) if codes is None else codes.cpu())


def _notes(columns: dict[str, PerExample]) -> Json:
    """Each column summed up: flags and kinds by their counts, amounts by their median.

    A median is none where most of the column is infinite, which JSON cannot say.
    """
    notes: Json = {}
    for name, column in columns.items():
        values, counts = column.unique(return_counts=True)
        if column.is_floating_point() or len(values) > KINDS:
            middle = float(column.float().nanmedian())
            notes[f"median_{name}"] = round(middle, 6) if math.isfinite(middle) else None
        else:
            pairs = zip(values.long().tolist(), counts.tolist(), strict=True)
            notes[f"counts_{name}"] = {str(value): count for value, count in pairs}
    return notes
