"""Attacks that hand in suspicions: taint, teach, harden, then ask every network all questions."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from robustbench_kd.core.io import expect_writable
from robustbench_kd.core.options import written
from robustbench_kd.core.protocols import AnyAttack, Case, Scenario, Subject
from robustbench_kd.core.registry import board_of
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.types import IGNORED, Examples, Splits
from robustbench_kd.evaluation.attack_runner import examples_digest, versions
from robustbench_kd.evaluation.fingerprints import IMAGES, defense_of, label_of, named, scenario_of
from robustbench_kd.evaluation.plots import Plot, networks, plots, rehearsed
from robustbench_kd.evaluation.poisoned_data import doorless
from robustbench_kd.evaluation.scorer import judge
from robustbench_kd.evaluation.trained_models import Say, Trained
from robustbench_kd.models.statistics import weights_digest
from robustbench_kd.ops.attacks.gradients import held_still
from robustbench_kd.results.artifacts import find_cell, save_cell
from robustbench_kd.results.probed import Columns, Known, Probed, rounded
from robustbench_kd.results.record import Json, digest
from robustbench_kd.results.store import kept, save_probed

PROBES = 1  # raised whenever an attack or the judge may answer differently for the same settings


def probe(
    defense: str,
    *,
    board: str = "text-privacy",
    attacks: Sequence[str] | None = None,
    seed: int = 0,
    train: bool = False,
    folder: str | None = None,
    given: Mapping[str, str | None] | None = None,
    out: Path | None = None,
    say: Say,
) -> list[Probed]:
    """The records of a defense on a board whose attacks hand in suspicions.

    Args:
        defense: as one types it (``"swing:peak=50"``).
        attacks: in place of the board's panel, where it tries them one by one.
        train: train what is not kept: teacher, control, shadows and student.
        folder: where the scenario's data may lie.
        given: other settings of the scenario, such as the checkpoints to start from.
        out: also write the records to this folder.

    Raises:
        RobustbenchError: with one sentence that says what is wrong and what would be right.
    """
    folders = [kept(), *([] if out is None else [out])]
    for place in folders:
        expect_writable(place)
    contest = board_of(board)
    scenario = scenario_of(contest.scenario, folder, **(given or {}))
    texts = attacks or contest.tried.get(label_of(defense_of(defense)), contest.panel)
    found = plots(defense, board, texts, seed, scenario, train=train, say=say)
    if train:  # what these data cannot bear is refused before any training
        for plot in found:
            plot.taint.facts()
    records = []
    for plot in found:
        records.append(observed(plot))
        for place in folders:
            save_probed(records[-1], place)
    return records


def observed(plot: Plot) -> Probed:
    """Every network of the plot, asked all questions."""
    began = time.process_time()
    planted = plot.taint.facts()
    nets = dict(networks(plot))
    data = ground(plot.scenario, plot.taint.seed)
    secrets = rehearsed(plot, data)
    known: dict[str, Known] = {}
    items: dict[str, Json] = {}
    for name, trained in nets.items():
        plot.say(f"asking {name}", len(known), len(nets), "")
        known[name], items = ask(plot, trained, data, secrets)
    plot.say("asked", len(nets), len(nets), "")
    return Probed(
        board=plot.board.name,
        scenario=plot.scenario.name,
        door=plot.board.door,
        attacks={text: written(attack) for text, attack in plot.attacks.items()},
        planted=planted,
        defense={**named(plot.defense), "told": bool(getattr(plot.defense, "told", False))},
        seed=plot.taint.seed,
        data={
            "edition": plot.scenario.edition,
            "examples": examples_digest(data.test),
            "count": len(data.test),
            "family": _families(plot.scenario, data.test.ids),
        },
        items=items,
        test=_lengths(plot, data.test),
        subjects=known,
        versions=versions(),
        spent={"cpu_seconds": round(time.process_time() - began, 1)},
    )


def ground(scenario: Scenario, seed: int) -> Splits:
    """The data that questions are about: what ships, or all of it where that holds no reserve."""
    few = scenario.splits(Seed(seed), whole=False)
    enough = few.reserve is not None or getattr(scenario, "medium", IMAGES) != IMAGES
    return few if enough else scenario.splits(Seed(seed), whole=True)


def ask(
    plot: Plot,
    trained: Trained,
    data: Splits,
    secrets: Mapping[str, Mapping[str, Tensor]],
    *,
    fresh: bool = False,
) -> tuple[Known, dict[str, Json]]:
    """All questions to one network; answers of an earlier run are taken, unless ``fresh``."""
    columns: dict[str, Columns] = {}
    items: dict[str, Json] = {}
    with held_still(trained.net):
        subject = plot.scenario.subject(trained.net)
        for text, attack in plot.attacks.items():
            key = _question(plot, trained.card["weights"], attack, secrets[text])
            earlier = None if fresh else find_cell(key)
            found = dict(earlier[0]) if earlier else _weighed(plot, subject, text, data, secrets)
            if not earlier and not fresh:
                save_cell(key, found, {"attack": text})
            ids, dose = found.pop("ids").long(), found.pop("dose")
            columns[text] = {name: rounded(values.tolist()) for name, values in found.items()}
            items[text] = {
                "ids": ids.tolist(),
                "dose": dose.long().tolist(),
                "family": _families(plot.scenario, ids),
            }
        nats = rounded(subject.surprise(data.test).tolist())
    card = trained.card
    return Known(card["weights"], card["key"], card["net"], columns, nats), items


def _question(plot: Plot, weights: str, attack: AnyAttack, secret: Mapping[str, Tensor]) -> str:
    """The digest of all that an answer depends on."""
    return digest(
        {
            "probes": PROBES,
            "weights": weights,
            "attack": doorless(written(attack)),
            "name": attack.name,
            "taint": plot.taint.key,
            "secret": weights_digest(secret),
        }
    )


def _weighed(
    plot: Plot,
    subject: Subject,
    text: str,
    data: Splits,
    secrets: Mapping[str, Mapping[str, Tensor]],
) -> dict[str, Tensor]:
    """The judge's columns on one attack, with the ids."""
    attack = plot.attacks[text]
    planted = plot.taint.secret()  # the judge's own copy of what all attacks planted
    doses = {
        int(i): int(n)
        for key in planted
        if key.endswith(".dose")
        for i, n in zip(planted[key.replace(".dose", ".ids")], planted[key], strict=True)
    }
    seed = Seed(plot.taint.seed) / "probe" / attack.name
    exhibit = attack.after(subject, data, secrets[text], seed)
    said = judge(exhibit, subject, Case(attack.threat, plot.scenario, data, doses))
    return {"ids": said.ids, **{name: value.double() for name, value in said.columns.items()}}


def _families(scenario: Scenario, ids: Tensor) -> list[str]:
    """What kind of item each is, where the ground has several."""
    family = getattr(scenario, "family", None)
    return family(ids) if family else ["example"] * len(ids)


def _lengths(plot: Plot, test: Examples) -> dict[str, list[int]]:
    """Asked tokens of each test row and the bytes they stand for; one of each for an image."""
    if test.targets.dim() != 2:
        return {"asked": [1] * len(test), "bytes": [1] * len(test)}
    pieces = plot.scenario.pieces  # type: ignore[attr-defined]
    asked = [row[row != IGNORED] for row in test.targets]
    return {
        "asked": [len(row) for row in asked],
        "bytes": [len("".join(pieces(row)).encode()) for row in asked],
    }
