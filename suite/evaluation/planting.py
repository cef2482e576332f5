"""Attacks on training data: taint, teach, harden, ask every network that tells the story."""

from __future__ import annotations

import hashlib
import time
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from robustbench_kd.core.config import Leaderboard
from robustbench_kd.core.errors import BadSetting, BadSubmission
from robustbench_kd.core.io import expect_writable
from robustbench_kd.core.options import written
from robustbench_kd.core.protocols import AnyAttack, Case, Defense, Fits, Scenario
from robustbench_kd.core.registry import board_of
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.tensor_types import Mask
from robustbench_kd.core.types import Evidence, Examples, Splits, Submission
from robustbench_kd.evaluation.attack_runner import attack_of, examples_digest, versions
from robustbench_kd.evaluation.fingerprints import (
    CONTROL,
    defense_of,
    label_of,
    named,
    reachable,
    refuse,
    scenario_of,
)
from robustbench_kd.evaluation.poisoned_data import Taint
from robustbench_kd.evaluation.scorer import judge
from robustbench_kd.evaluation.trained_models import Say, Trained, asked, student
from robustbench_kd.ops.attacks.gradients import held_still
from robustbench_kd.ops.statistics.bitset import pack
from robustbench_kd.results.artifacts import dump
from robustbench_kd.results.planted import TWIN, Asked, Planted
from robustbench_kd.results.record import digest
from robustbench_kd.results.store import kept, save_planted


@dataclass(frozen=True)
class Plot:
    """What does not change from attack to attack: the contest, its ground, and who defends."""

    board: Leaderboard
    scenario: Scenario
    defense: Defense
    train: bool
    say: Say


def plant(
    defense: str,
    *,
    board: str = "fashion-backdoor",
    attacks: Sequence[str] | None = None,
    seed: int = 0,
    train: bool = False,
    folder: str | None = None,
    out: Path | None = None,
    say: Say,
) -> list[Planted]:
    """The records of a defense under the attacks of a board behind a training set's door.

    Args:
        defense: as one types it (``"distillation"``, ``"nad:epochs=10"``).
        attacks: in place of those that the board tries this defense on.
        train: train what is not kept; one attack needs a poisoned teacher and a student.
        folder: where the scenario's whole data set may lie.
        out: also write the records and the submitted inputs to this folder.

    Raises:
        RobustbenchError: with one sentence that says what is wrong and what would be right.
    """
    folders = [kept(), *([] if out is None else [out])]
    for place in folders:
        expect_writable(place)
    contest = board_of(board)
    plot = Plot(contest, scenario_of(contest.scenario, folder), defense_of(defense), train, say)
    reachable(contest, plot.defense)
    refuse(plot.scenario, plot.defense, contest)
    texts = attacks or contest.tried.get(label_of(plot.defense), contest.panel)
    made = {text: _door(attack_of(text, contest), text, contest) for text in texts}
    if train:  # all attacks are looked at before the first is paid for
        images = plot.scenario.splits(Seed(seed), whole=True).train
        for attack in made.values():
            if isinstance(attack, Fits):
                attack.fits(images)
    records = []
    for text, attack in made.items():
        record, exhibit = _observed(plot, Taint(plot.scenario, text, attack, seed))
        for place in folders:
            save_planted(record, exhibit, place)
        records.append(record)
    return records


def _door(attack: AnyAttack, text: str, board: Leaderboard) -> AnyAttack:
    if attack.threat.door != board.door:
        raise BadSetting(
            f"{text} acts on the {attack.threat.door}, and {board.name} tries attacks on the "
            f"{board.door}"
        )
    return attack


def _observed(plot: Plot, taint: Taint) -> tuple[Planted, bytes]:
    """Every network of the story, asked about the plain and the submitted inputs."""
    began = time.process_time()
    if plot.train:
        taint.facts()  # what these data cannot bear is refused here, before any training
    networks = dict(_networks(plot, taint))
    test = plot.scenario.splits(Seed(taint.seed), whole=False).test
    submission = _submitted(plot, taint, networks["student"], test)
    said: dict[str, Evidence] = {}
    for name, trained in networks.items():
        plot.say(f"{taint.text}: {name}", len(said), len(networks), "")
        said[name] = _judged(plot, taint, trained, test, submission)
    plot.say(f"{taint.text}: done", len(networks), len(networks), "")
    eligible = _eligible(submission, test)
    exhibit = dump(
        {"codes": _deflated(said["student"].codes), "wanted": _wanted(submission), "ids": test.ids},
        {"what": "exhibit", "taint": taint.key},
    )
    return Planted(
        board=plot.board.name,
        scenario=plot.scenario.name,
        door=plot.board.door,
        attack=taint.text,
        settings=written(taint.attack),
        planted=taint.facts(),
        defense=named(plot.defense),
        seed=taint.seed,
        data={
            "edition": plot.scenario.edition,
            "examples": examples_digest(test),
            "ids": digest(test.ids.tolist()),
            "count": len(test),
            "classes": int(test.targets.max()) + 1,
        },
        eligible=pack(eligible.tolist()),
        wins=int(eligible.sum()),
        subjects={
            name: _asked(networks[name], one, eligible, test, plot) for name, one in said.items()
        },
        exhibit={"sha256": hashlib.sha256(exhibit).hexdigest(), "bytes": len(exhibit)},
        versions=versions(),
        spent={"cpu_seconds": round(time.process_time() - began, 1)},
    ), exhibit


def _networks(plot: Plot, taint: Taint) -> Iterator[tuple[str, Trained]]:
    """Student, undistilled control and teachers, each behind the taint and as its clean twin."""
    board, scenario, seed, train, say = (
        plot.board,
        plot.scenario,
        taint.seed,
        plot.train,
        plot.say,
    )
    for mark, poison in (("", taint), (TWIN, None)):
        for role in plot.defense.needs:
            by = asked(board, scenario, role, seed, train=train, say=say, taint=poison)
            yield f"teacher-{role}{mark}", by
        control = defense_of(CONTROL)
        # Behind the teacher's door the control learns from clean labels, whatever was planted.
        met = poison if board.door == "student data" else None
        yield (
            f"control{mark}",
            student(board, scenario, control, seed, train=train, say=say, taint=met),
        )
        yield (
            f"student{mark}",
            student(board, scenario, plot.defense, seed, train=train, say=say, taint=poison),
        )


def _submitted(plot: Plot, taint: Taint, trained: Trained, test: Examples) -> Submission:
    """What the adversary hands in: one set of inputs, which every network is asked about."""
    nothing = test.take(torch.arange(0))
    data = Splits(nothing, nothing, test)
    seed = Seed(taint.seed) / "taint" / "after"
    with held_still(trained.net):
        subject = plot.scenario.subject(trained.net)
        exhibit = taint.attack.after(subject, data, taint.secret(), seed)
    if not isinstance(exhibit, Submission):
        raise BadSubmission(f"{taint.text} must hand in inputs, not a {type(exhibit).__name__}")
    if not torch.equal(exhibit.ids, test.ids):
        raise BadSubmission(f"{taint.text} must hand in every test image, in the order they are in")
    return exhibit


def _judged(
    plot: Plot, taint: Taint, trained: Trained, test: Examples, submission: Submission
) -> Evidence:
    nothing = test.take(torch.arange(0))
    case = Case(taint.attack.threat, plot.scenario, Splits(nothing, nothing, test))
    with held_still(trained.net):
        said = judge(submission, plot.scenario.subject(trained.net), case)
    if said.doubts:  # a planted record has no place for doubts, so such a run makes none
        raise BadSubmission(
            f"{taint.text}: {'; '.join(sorted(doubt.value for doubt in said.doubts))}"
        )
    return said


def _eligible(submission: Submission, test: Examples) -> Mask:
    """The inputs that the adversary wants answered wrongly: all, where any wrong answer will do."""
    if submission.wanted is None:
        return torch.ones(len(test), dtype=torch.bool)
    return submission.wanted != test.targets


def _wanted(submission: Submission) -> Tensor:
    """The wanted classes; -1 for any but the right one."""
    if submission.wanted is None:
        return torch.full_like(submission.ids, -1)
    return submission.wanted.contiguous()


def _asked(trained: Trained, said: Evidence, eligible: Mask, test: Examples, plot: Plot) -> Asked:
    with held_still(trained.net):
        plain = plot.scenario.subject(trained.net).answer(test.inputs)
    true = said.columns["right"].bool()
    won = said.columns["won"].bool() if "won" in said.columns else ~true
    return Asked(
        weights=trained.card["weights"],
        key=trained.card["key"],
        net=trained.card["net"],
        right=pack(plot.scenario.agree(plain, test.targets).tolist()),
        won=pack(won[eligible].tolist()),
        true=pack(true[eligible].tolist()),
    )


def _deflated(codes: Tensor | None) -> Tensor:
    raw = b"" if codes is None else zlib.compress(codes.contiguous().numpy().tobytes(), 9)
    return torch.frombuffer(bytearray(raw), dtype=torch.uint8)
