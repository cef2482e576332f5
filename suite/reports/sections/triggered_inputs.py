"""Inputs that an adversary submitted after training: the trigger, and on which models it worked."""

from __future__ import annotations

import torch

from robustbench_kd.core.config import Budget
from robustbench_kd.core.seed import Seed
from robustbench_kd.evaluation.requery import stored_inputs
from robustbench_kd.metrics._share import role_of
from robustbench_kd.reports.document import Block, BoardRecords, ImageStrip, RowSection, Section
from robustbench_kd.reports.leaderboard import RankingRow
from robustbench_kd.reports.sections.adversarial_examples import (
    class_name,
    clean_images,
    image_triple,
)
from robustbench_kd.results.groups import SeedGroup
from robustbench_kd.results.record import Record
from robustbench_kd.results.store import find_evidence, read_evidence

TITLE = "Submitted inputs"
SHOWN = 3
SHOWN_OF_ROW = 6
NOTE = (
    "Some of the submitted inputs, drawn by a named seed: the original, the change (grey is zero), "
    "and the input that the models were given; and on which models the attack succeeded. The "
    "source is the model that the poison reached first."
)


def inputs_by_attack(board: BoardRecords) -> Block | str | None:
    """A few submitted inputs of every attack that changes its inputs."""
    if not board.leaderboard.poisons or not board.by_attack:
        return None
    strips: dict[str, tuple[ImageStrip, ...]] = {}
    for row in board.rows:
        if row.attack not in strips and (images := triggered_inputs(board, row.record, SHOWN)):
            strips[row.attack] = images
    if strips:
        return Block(paragraphs=(NOTE,), strips=strips)
    return (
        "submitted inputs: none are stored beside these records, or their attacks submit inputs "
        "as they are"
    )


def inputs_of_row(board: BoardRecords, row: RankingRow) -> Block | None:
    """More of them, of one attack on one defense."""
    images = triggered_inputs(board, row.record, SHOWN_OF_ROW)
    return Block(paragraphs=(NOTE,), strips={row.attack: images}) if images else None


def triggered_inputs(board: BoardRecords, record: Record, count: int) -> tuple[ImageStrip, ...]:
    """Submitted inputs; none where they are not stored here, or are the clean ones.

    Raises:
        BadRecord: where the file beside the record is damaged, or is not the record's.
    """
    path = board.path(record)
    if record.capability == "test_data" or find_evidence(record, path) is None:
        return ()
    clean = clean_images(board, record)
    if clean is None:
        return ()
    submission = stored_inputs(read_evidence(record, path), clean, path)
    (label,) = record.attack_labels
    eligible = record.attacks[label].eligible
    assert eligible is not None  # where inputs are stored, those that count are named
    places = torch.tensor(eligible.flags).nonzero().flatten()
    if torch.equal(submission.inputs[places], clean.inputs[places]):
        return ()
    generator = (Seed(record.seed) / "stamps").generator()
    numbers = torch.randperm(len(places), generator=generator)[:count].sort().values.tolist()
    strips = []
    for number in numbers:
        place = int(places[number])
        change = submission.inputs[place] - clean.inputs[place]
        # As if within an L2 ball: triggers have no radius, so the largest change sets the scale.
        images = image_triple(clean.inputs[place], change, Budget("l2", 1.0))
        target = -1 if submission.targets is None else int(submission.targets[place])
        caption = (
            f"Test sample {int(clean.ids[place])}, "
            f"{class_name(board, record, int(clean.targets[place]))}, target "
            f"{class_name(board, record, target) if target >= 0 else 'any other class'}; success: "
            f"{_outcomes(record, label, number)}"
        )
        strips.append(ImageStrip(images, caption))
    return tuple(strips)


def _outcomes(record: Record, attack: str, number: int) -> str:
    """Whether the attack succeeded on source and student at this eligible input."""
    source = role_of(SeedGroup((record,)), "source")
    models = {"source": source, "student": "student"}
    return ", ".join(
        f"{name} {'yes' if record.bits(attack, role, 'attack_success').flags[number] else 'no'}"
        for name, role in models.items()
        if role is not None
    )


SECTIONS = (Section("inputs", TITLE, 70, inputs_by_attack),)
ROW_SECTIONS = (RowSection(TITLE, 70, inputs_of_row),)
