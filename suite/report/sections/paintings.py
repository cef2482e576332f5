"""What painters answer to the same prompts, with the trigger and without, from the same noise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from robustbench_kd.errors import BadModel, BadRecord
from robustbench_kd.inheritance import TWIN
from robustbench_kd.ops.gradient import held_still
from robustbench_kd.painting import Denoiser
from robustbench_kd.plots import Plot, networks
from robustbench_kd.probing import ground
from robustbench_kd.protocols import Prompts
from robustbench_kd.report.blocks import Block, Facts, Picture, Section
from robustbench_kd.report.cases import Case
from robustbench_kd.report.pictured import attack, attacked
from robustbench_kd.report.sections.gallery import pixels
from robustbench_kd.report.sections.probes import found_in
from robustbench_kd.reprobing import plot_of
from robustbench_kd.schooling import Trained

PROMPTS = 2  # the first ones of the test, whatever they show
NOTE = (
    "The first prompts of the test, as every painter answers them without the trigger and with it; "
    "from the same noise, so what differs is what was planted or mended. Nothing was selected."
)
Strip = tuple[str, Trained]


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
        try:
            plot = plot_of(case.first, facts.path(case.first))
            nets = dict(networks(plot))
        except (BadModel, BadRecord):  # the section says that there is nothing to be seen
            continue
        given = attacked(case)
        strips = (
            ("never poisoned", nets[given + TWIN]),
            ("attacked", nets[given]),
            (case.first.label, nets["student"]),
        )
        for name, trained in strips:
            if name not in shown:
                shown.add(name)
                yield _strip(plot, name, trained)


def _strip(plot: Plot, name: str, trained: Trained) -> Picture:
    """One painter's answers side by side."""
    (asked_by,) = plot.attacks.values()
    if not isinstance(asked_by, Prompts):
        raise BadRecord(f"{asked_by.name} asks no prompts, so {plot.board.name} has no pictures")
    rows = ground(plot.scenario, plot.taint.seed).test.take(torch.arange(PROMPTS))
    clean, triggered = asked_by.questions(rows.inputs)
    with held_still(trained.net):
        subject = plot.scenario.subject(trained.net)
        assert isinstance(subject, Denoiser)  # what every attack by prompts meets
        canvas = subject.canvas(PROMPTS).repeat(2, 1, 1, 1)
        painted = subject.paint(torch.cat([clean, triggered]), canvas).chunk(2)
        words = subject.net.words.texts(clean)
    parts = []
    for n, text in enumerate(words):
        for images, mark in zip(painted, ("", ", with the trigger"), strict=True):
            parts.append((text + mark, pixels(images[n])))
    return Picture(tuple(parts), name)


SECTIONS = (Section("paintings", "Pictures by prompt", 71, paintings),)
