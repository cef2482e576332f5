"""What painters answer to the same prompts, with the trigger and without, from the same noise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from robustbench_kd.core.errors import BadModel, BadRecord
from robustbench_kd.core.protocols import Prompts
from robustbench_kd.evaluation.plots import networks
from robustbench_kd.evaluation.probing import ground
from robustbench_kd.evaluation.reprobing import plot_of
from robustbench_kd.metrics._groups import Case
from robustbench_kd.metrics.trigger_removal import attack, attacked
from robustbench_kd.models.text_to_image import Denoiser
from robustbench_kd.ops.attacks.gradients import held_still
from robustbench_kd.reports.document import Block, Facts, Picture, Section
from robustbench_kd.reports.figures import png
from robustbench_kd.reports.sections.memorization import found_in
from robustbench_kd.results.artifacts import find_cell, save_cell
from robustbench_kd.results.planted import TWIN
from robustbench_kd.results.probed import Probed
from robustbench_kd.results.record import Json, digest

PROMPTS = 2  # the first ones of the test, whatever they show
KEPT = "paintings"  # the folder where what was painted is kept: it takes most of a page's time
NOTE = (
    "The first prompts of the test, as every painter answers them without the trigger and with it; "
    "from the same noise, so what differs is what was planted or mended. Nothing was selected."
)


def paintings(facts: Facts) -> Block | str | None:
    """A grid for each attack of the panel: painters down, prompts across."""
    found = [case for case in found_in(facts) if facts.contest.rank_by == "removal"]
    shelves: dict[str, tuple[Picture, ...]] = {}
    asked = map(attack, found)
    for name in dict.fromkeys(text for text in asked if text in facts.contest.panel):
        pictures = tuple(_painted(facts, [case for case in found if attack(case) == name]))
        shelves |= {name: pictures} if pictures else {}
    if found and not shelves:
        return "pictures by prompt: the painters of these records are not kept here"
    return Block(words=(NOTE,), pictures=shelves) if shelves else None


def _painted(facts: Facts, found: Sequence[Case]) -> Iterator[Picture]:
    """The never-poisoned painter, the attacked one, and each that was mended."""
    shown = set()
    for case in found:
        given = attacked(case)
        painters = {"never poisoned": given + TWIN, "attacked": given, case.first.label: "student"}
        for name, subject in painters.items():
            if name not in shown:
                try:
                    parts = _strip(case.first, facts.path(case.first), subject)
                except (BadModel, BadRecord):  # the section says that there is nothing to be seen
                    continue
                shown.add(name)
                yield Picture(parts, name)


def _strip(record: Probed, path: Path, subject: str) -> tuple[tuple[str, bytes], ...]:
    """One painter's answers side by side; those of the committed painters ship with the package."""
    weights = record.subjects[subject].weights
    about = {"attacks": record.attacks, "scenario": record.scenario, "seed": record.seed}
    key = digest({**about, "data": record.data, "prompts": PROMPTS, "weights": weights})
    kept = find_cell(key, KEPT)
    if kept is None:
        kept = _paint(record, path, subject)
        save_cell(key, *kept, KEPT)
    images, card = kept
    pictures = images["pictures"].movedim(1, 3).numpy()
    return tuple(zip(card["words"], map(png, pictures), strict=True))


def _paint(record: Probed, path: Path, subject: str) -> tuple[dict[str, Tensor], Json]:
    """The answers of a painter that is kept here, as bytes, and the words to each of them."""
    plot = plot_of(record, path)
    trained = dict(networks(plot))[subject]
    if trained.card["weights"] != record.subjects[subject].weights:
        raise BadRecord(f"{path}: its {subject} is another network than the one kept here")
    (asked_by,) = plot.attacks.values()
    if not isinstance(asked_by, Prompts):
        raise BadRecord(f"{asked_by.name} asks no prompts, so {plot.board.name} has no pictures")
    rows = ground(plot.scenario, plot.taint.seed).test.take(torch.arange(PROMPTS))
    clean, triggered = asked_by.questions(rows.inputs)
    with held_still(trained.net):
        painter = plot.scenario.subject(trained.net)
        assert isinstance(painter, Denoiser)  # what every attack by prompts meets
        canvas = painter.canvas(PROMPTS).repeat(2, 1, 1, 1)
        painted = painter.paint(torch.cat([clean, triggered]), canvas).chunk(2)
        texts = painter.net.words.texts(clean)
    pictures = torch.stack(painted, 1).flatten(0, 1)  # each prompt without and with its trigger
    words = [text + mark for text in texts for mark in ("", ", with the trigger")]
    return {"pictures": (pictures.clamp(0, 1) * 255).round().to(torch.uint8)}, {"words": words}


SECTIONS = (Section("paintings", "Pictures by prompt", 71, paintings),)
