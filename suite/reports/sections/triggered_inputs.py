"""Inputs that the adversary submitted after training: what a trigger is like, and whom it won."""

from __future__ import annotations

import torch

from robustbench_kd.core.config import Budget
from robustbench_kd.core.seed import Seed
from robustbench_kd.evaluation.reasking import exhibit_of
from robustbench_kd.ops.statistics.bitset import unpack
from robustbench_kd.reports.document import Block, Facts, Picture, Section
from robustbench_kd.reports.sections.adversarial_examples import images_of, shows, triple
from robustbench_kd.reports.sections.backdoor_transfer import found_in
from robustbench_kd.results.planted import Planted, flags
from robustbench_kd.results.store import exhibit_name

SHOWN = 3
NOTE = (
    "For each attack some of the submitted inputs, drawn by a named seed: the original, the change "
    "(grey is none), and what the networks were asked; and whether source and student answered "
    "as the adversary wanted."
)


def stamps(facts: Facts) -> Block | str | None:
    """A few submitted inputs of every attack that changes its inputs."""
    found = found_in(facts)
    if not found:
        return None
    shelves: dict[str, tuple[Picture, ...]] = {}
    for case in found:
        attack = case.first.attack
        if attack not in shelves and (pictures := submitted(facts, case.first)):
            shelves[attack] = pictures
    if not shelves:
        return "submitted inputs: none lie beside these records, or the attacks submit plain ones"
    return Block(words=(NOTE,), pictures=shelves)


def submitted(facts: Facts, record: Planted, count: int = SHOWN) -> tuple[Picture, ...]:
    """Pictures of submitted inputs; none where they are not here, or are the plain ones.

    Raises:
        BadRecord: where the file beside the record is damaged, or another than the record's.
    """
    path = facts.path(record)
    if not (path.parent / exhibit_name(record)).is_file():
        return ()
    clean = images_of(facts, record)
    if clean is None:
        return ()
    inputs, wanted = exhibit_of(record, clean, path)
    eligible = torch.tensor(unpack(record.eligible, record.data["count"])).nonzero().flatten()
    moved = inputs - clean.inputs
    if not bool(moved[eligible].any()):
        return ()
    generator = (Seed(record.seed) / "stamps").generator()
    drawn = torch.randperm(len(eligible), generator=generator)[:count].sort().values.tolist()
    won = {name: flags(record, name, "won") for name in (record.source, "student")}

    def named(place: int) -> str:
        return shows(facts, record, place) if place >= 0 else "any other"

    return tuple(
        Picture(
            triple(clean.inputs[place], moved[place], Budget("l2", 1.0)),
            f"Test example {int(clean.ids[place])}, {named(int(clean.targets[place]))}, wanted "
            f"{named(int(wanted[place]))}; the source {_word(won[record.source][n])}, the student "
            f"{_word(won['student'][n])}",
        )
        for n, place in ((n, int(eligible[n])) for n in drawn)
    )


def _word(won: bool) -> str:
    return "obeys" if won else "does not"


SECTIONS = (Section("stamps", "Submitted inputs", 70, stamps),)
