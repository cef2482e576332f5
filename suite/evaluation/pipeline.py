"""From a name to a record: refuse, find the student, try every attack, judge, fold."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from robustbench_kd.core.config import Leaderboard
from robustbench_kd.core.errors import BadSetting
from robustbench_kd.core.io import expect_writable
from robustbench_kd.core.protocols import WhiteBox
from robustbench_kd.core.registry import board_of
from robustbench_kd.core.seed import Seed
from robustbench_kd.evaluation.attack_runner import (
    Outcome,
    Trial,
    attack_of,
    attempt,
    ball_of,
    checked,
    examples_digest,
    expect_inputs,
    fingerprint,
    meet,
    versions,
    within,
)
from robustbench_kd.evaluation.fingerprints import defense_of, named, scenario_of
from robustbench_kd.evaluation.sanity_checks import probe
from robustbench_kd.evaluation.trained_models import Say, Trained, student
from robustbench_kd.models.statistics import macs, parameters, weights_digest
from robustbench_kd.ops.attacks.gradients import held_still
from robustbench_kd.results.adversarial_examples import prove
from robustbench_kd.results.artifacts import dump
from robustbench_kd.results.record import Json, Record, digest, summed, worst_case
from robustbench_kd.results.store import kept, save_record


def quiet(stage: str, done: int, total: int, note: str) -> None:
    """Says nothing."""


def evaluate(
    who: str | nn.Module,
    *,
    board: str = "fashion-linf",
    attacks: Sequence[str] | None = None,
    seed: int = 0,
    limit: int | None = None,
    eps: float | None = None,
    train: bool = False,
    wide: bool = False,
    name: str | None = None,
    folder: str | None = None,
    accept_probabilities: bool = False,
    out: Path | None = None,
    say: Say = quiet,
) -> Record:
    """The record of a defense, or of any network, on a leaderboard.

    Args:
        who: a defense as one types it (``"ard"``, ``"ard:alpha=0.9"``), or a module that maps
            [0, 1] images of the board's scenario to logits.
        attacks: in place of the board's panel; such a record never enters the board.
        limit: only the first so many test images; such a record never enters the board.
        eps: radius of the attacks in place of the board's, whose student stays the same; such a
            record never enters the board, but is a point of the curve over radii.
        train: train the student now where none is kept.
        wide: also ask the whole test set, by the board's cheap attacks.
        name: what to call a network of one's own.
        folder: where the scenario's whole data set may lie.
        accept_probabilities: judge a network that returns probabilities, with a doubt.
        out: also write the record and its evidence to this folder; they are kept in the cache
            in any case, so that they can be verified and compared later.
        say: hears how far the run is: stage, done, total, note.

    Raises:
        RobustbenchError: with one sentence that says what is wrong and what would be right.
    """
    folders = [kept(), *([] if out is None else [out])]
    for place in folders:
        expect_writable(place)
    contest = board_of(board)
    judged = within(contest, eps)
    scenario = scenario_of(contest.scenario, folder)
    panel = tuple(dict.fromkeys(("untouched", *(attacks or contest.panel))))
    adversaries = {text: attack_of(text, judged) for text in panel}
    for text, attack in adversaries.items():
        expect_inputs(text, attack)
    ball = ball_of(adversaries, judged)
    if limit is not None and limit < 1:
        raise BadSetting(f"limit must be at least 1, not {limit}: an empty slice proves nothing")
    trained, entrant = _entrant(who, contest, name, seed, folder, train, say)
    test = scenario.splits(Seed(seed), whole=False).test
    limit = None if limit is None or limit >= len(test) else limit
    test = test if limit is None else test.take(torch.arange(limit))
    with held_still(trained.net):
        weights = weights_digest(trained.net.state_dict())
        trial = Trial(scenario, trained.net, weights, test, seed)
        for text, attack in adversaries.items():
            meet(trial, text, attack)
        subject = scenario.subject(trained.net)
        white = subject if isinstance(subject, WhiteBox) else None
        doubts = set(probe(white, test, accept_probabilities)) if white else set()
        if white and trained.origin == "yours":
            trial = replace(trial, answers=fingerprint(white, test))

        began, outcomes = time.process_time(), []
        for n, (text, attack) in enumerate(adversaries.items()):
            say(text, n, len(panel) + 1, "")
            outcomes.append(attempt(trial, text, attack))
        say("health", len(panel), len(panel) + 1, "")
        health: Json = {}
        if white:
            health, signs = checked(trial, white, ball)
            doubts |= signs
        wider = _wide(trial, judged, say) if wide else []
        say("done", len(panel) + 1, len(panel) + 1, "")
        record = _fold(trial, contest, trained, entrant, outcomes, wider, limit)
    proof = prove(test.ids, [o.right for o in outcomes], [o.codes for o in outcomes])
    evidence = dump(proof.tensors(), {"what": "evidence"})
    record = replace(
        record,
        health=health,
        threat={"norm": ball.kind, "eps": ball.amount},
        doubts=tuple(sorted({d.value for d in doubts} | set(record.doubts))),
        evidence={
            "sha256": hashlib.sha256(evidence).hexdigest(),
            "bytes": len(evidence),
            "rows": int((proof.broke >= 0).sum()),
        },
        spent={"cpu_seconds": round(time.process_time() - began, 1)},
    )
    for place in folders:
        save_record(record, evidence, place)
    return record


def _entrant(
    who: str | nn.Module,
    board: Leaderboard,
    name: str | None,
    seed: int,
    folder: str | None,
    train: bool,
    say: Say,
) -> tuple[Trained, Json]:
    """The network to try, and how the record names it."""
    if isinstance(who, nn.Module):
        called = name or type(who).__name__
        return Trained(who, {}, "yours"), {"name": called, "label": called}
    defense = defense_of(who)
    scenario = scenario_of(board.scenario, folder)
    trained = student(board, scenario, defense, seed, train=train, say=say)
    return trained, named(defense)


def _wide(trial: Trial, board: Leaderboard, say: Say) -> list[Outcome]:
    """The board's cheap attacks on the whole test set: flags only, for a narrower interval."""
    whole = trial.scenario.splits(Seed(trial.seed), whole=True).test
    outcomes = []
    for n, text in enumerate(board.wide):
        say(f"{text}, {len(whole)} images", n, len(board.wide), "")
        outcomes.append(attempt(replace(trial, test=whole), text, attack_of(text, board)))
    return outcomes


def _fold(
    trial: Trial,
    board: Leaderboard,
    trained: Trained,
    entrant: Json,
    outcomes: Sequence[Outcome],
    wider: Sequence[Outcome],
    limit: int | None,
) -> Record:
    cells = tuple(outcome.cell for outcome in outcomes)
    return Record(
        board=board.name,
        scenario=board.scenario,
        defense=entrant,
        model={
            "weights": trial.weights,
            "key": trained.card.get("key"),
            "net": trained.card.get("net", type(trained.net).__name__),
            "yours": trained.origin == "yours",
            "parameters": parameters(trained.net),
            "macs": macs(trained.net, trial.test.inputs[:1]),
        },
        teachers=trained.card.get("teacher_weights", {}),
        data={
            "edition": trial.scenario.edition,
            "examples": examples_digest(trial.test),
            "ids": digest(trial.test.ids.tolist()),
            "count": len(trial.test),
        },
        threat={},
        seed=trial.seed,
        limit=limit,
        cells=cells,
        robust=summed(worst_case(cells)),
        wide=tuple(outcome.cell for outcome in wider),
        evidence={},
        health={},
        doubts=tuple(sorted({doubt for cell in cells for doubt in cell.doubts})),
        versions=versions(),
        spent={},
    )
