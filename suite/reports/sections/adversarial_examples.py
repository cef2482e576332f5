"""Adversarial examples from the evidence beside a record: chosen by rule, never by hand."""

from __future__ import annotations

import torch
from torch import Tensor

from robustbench_kd.core.config import Budget
from robustbench_kd.core.errors import BadModel, BadRecord, MissingData
from robustbench_kd.core.protocols import Scenario
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.tensor_types import Images
from robustbench_kd.core.types import Examples
from robustbench_kd.evaluation.entries import scenario_of
from robustbench_kd.evaluation.replay import (
    budget_of,
    clean_examples,
    load_student,
    stored_examples,
)
from robustbench_kd.ops.attacks.gradients import frozen_eval_mode
from robustbench_kd.reports.document import Block, BoardRecords, ImageStrip, RowSection, Section
from robustbench_kd.reports.drawing import png
from robustbench_kd.reports.leaderboard import RankingRow
from robustbench_kd.reports.sections.tradeoffs import evasion_rows
from robustbench_kd.results.record import Record
from robustbench_kd.results.store import find_evidence, read_evidence

TITLE = "Adversarial examples"
SIZES = (2, 2)  # of a student: drawn by a named seed, and of the smallest L2 norm
ROW_SIZES = (4, 4)
NOTE = (
    "Of the broken samples some that were drawn by a named seed, then as many with the smallest "
    "perturbation in L2: the original, the change (grey is zero, white and black are the whole "
    "radius), and the input that the student was given, with its answer. One forward pass over the "
    "evidence confirms all of them (verify)."
)


def examples_by_student(board: BoardRecords) -> Block | str | None:
    """A few broken samples of every student whose evidence lies beside its record."""
    rows = evasion_rows(board)
    if not rows:
        return None
    strips = {
        row.label: images
        for row in rows
        if (images := adversarial_examples(board, row.record, SIZES))
    }
    if not strips:
        return "adversarial examples: the evidence or the data of these records is not here"
    return Block(paragraphs=(NOTE,), strips=strips)


def examples_of_row(board: BoardRecords, row: RankingRow) -> Block | None:
    """More of them, of one student."""
    if row.record.capability != "test_data":
        return None
    images = adversarial_examples(board, row.record, ROW_SIZES)
    return Block(paragraphs=(NOTE,), strips={row.label: images}) if images else None


def adversarial_examples(
    board: BoardRecords, record: Record, sizes: tuple[int, int]
) -> tuple[ImageStrip, ...]:
    """Broken samples; none where the evidence or the data set is not here.

    Args:
        sizes: how many are drawn by a seed, and how many have the smallest perturbation.

    Raises:
        BadRecord: where the evidence is damaged, or is not the record's.
    """
    path = board.path(record)
    if find_evidence(record, path) is None:
        return ()
    evidence = read_evidence(record, path)
    clean = clean_images(board, record)
    if clean is None:
        return ()
    budget = budget_of(record)
    stored = stored_examples(record, evidence, clean, path)
    perturbations = stored.inputs(clean, budget) - clean.inputs
    broken = (stored.broken_by >= 0).nonzero().flatten()
    norms = perturbations[broken].flatten(1).norm(dim=1)
    places = _chosen(broken, norms, sizes, record.seed)
    if not places:
        return ()
    answers = _answers(board, record, (clean.inputs + perturbations)[places])
    attacks = list(record.attacks)
    strips = []
    for place, answer in zip(places, answers, strict=True):
        change = perturbations[place]
        caption = (
            f"Test sample {int(clean.ids[place])}, "
            f"{class_name(board, record, int(clean.targets[place]))}, {answer}; broken by "
            f"{attacks[int(stored.broken_by[place])]}; L2 {float(change.norm()):.2f}, "
            f"Linf {float(change.abs().max()):.3f}"
        )
        strips.append(ImageStrip(image_triple(clean.inputs[place], change, budget), caption))
    return tuple(strips)


def _chosen(broken: Tensor, norms: Tensor, sizes: tuple[int, int], seed: int) -> list[int]:
    """Some drawn by a named seed, and of the rest those of the smallest norm."""
    generator = (Seed(seed) / "gallery").generator()
    shuffled = broken[torch.randperm(len(broken), generator=generator)].tolist()
    drawn = sorted(shuffled[: sizes[0]])
    nearest = [place for place in broken[norms.argsort(stable=True)].tolist() if place not in drawn]
    return drawn + nearest[: sizes[1]]


def _answers(board: BoardRecords, record: Record, inputs: Images) -> list[str]:
    """The student's answers in words; where it is not stored here, only that they are wrong."""
    scenario = scenario_in(board, record)
    try:
        net = load_student(record, scenario)
    except BadModel:
        return ["misclassified"] * len(inputs)
    with frozen_eval_mode(net):
        answers = scenario.target_model(net).answer(inputs).tolist()
    return [f"classified as {class_name(board, record, answer)}" for answer in answers]


def scenario_in(board: BoardRecords, record: Record) -> Scenario:
    """The scenario of a record."""
    name = record.scenario
    return board.computed(("scenario", name), lambda: scenario_of(name))


def class_name(board: BoardRecords, record: Record, place: int) -> str:
    """The name of a class, or its number where it has none."""
    names: tuple[str, ...] = getattr(scenario_in(board, record), "class_names", ())
    return names[place] if place < len(names) else f"class {place}"


def clean_images(board: BoardRecords, record: Record) -> Examples | None:
    """The clean test images of a record; None where this machine has others or none."""
    data = (record.scenario, record.seed, record.data["examples"], record.data.get("ids"))
    return board.computed(("clean images", data), lambda: _clean_images(board, record))


def _clean_images(board: BoardRecords, record: Record) -> Examples | None:
    try:
        clean = clean_examples(record, scenario_in(board, record))
    except (MissingData, BadRecord):  # the sections say that there is nothing to be seen
        return None
    return clean if clean.inputs.dim() == 4 else None


def image_triple(original: Tensor, change: Tensor, budget: Budget) -> tuple[tuple[str, bytes], ...]:
    """Original, perturbation and sum as labelled PNGs.

    A perturbation in Linf is scaled by the radius, any other by its largest value.
    """
    largest = float(change.abs().max()) if budget.kind != "linf" else budget.amount
    scaled = 0.5 + change / (2 * largest) if largest else torch.full_like(change, 0.5)
    label = f"change x {1 / (2 * largest):.3g}" if largest else "no change"
    return (
        ("original", image_png(original)),
        (label, image_png(scaled)),
        ("input", image_png(original + change)),
    )


def image_png(image: Tensor) -> bytes:
    """An image in [0, 1], [channels, height, width], as a PNG."""
    whole = (image.clamp(0, 1) * 255).round().to(torch.uint8)
    return png(whole.permute(1, 2, 0).numpy())


SECTIONS = (Section("examples", TITLE, 70, examples_by_student),)
ROW_SECTIONS = (RowSection(TITLE, 70, examples_of_row),)
