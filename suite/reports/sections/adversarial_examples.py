"""Adversarial examples from the evidence beside a record: chosen by rule, never by hand."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from robustbench_kd.core.config import Budget
from robustbench_kd.core.errors import BadModel, BadRecord, MissingData
from robustbench_kd.core.protocols import Scenario
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.tensor_types import Images
from robustbench_kd.core.types import Examples
from robustbench_kd.evaluation.fingerprints import scenario_of
from robustbench_kd.evaluation.verification import clean_of, evidence_of, network_of
from robustbench_kd.ops.attacks.gradients import held_still
from robustbench_kd.reports.document import Block, Facts, Picture, Section
from robustbench_kd.reports.figures import png
from robustbench_kd.reports.sections.ranking import rows_in
from robustbench_kd.results.adversarial_examples import restore
from robustbench_kd.results.artifacts import undump
from robustbench_kd.results.planted import Planted
from robustbench_kd.results.record import Record

DRAWN, NEAREST = 2, 2  # examples of a student: drawn by a named seed, and of the least L2 norm
NOTE = (
    "Of the broken examples some that a named seed drew, then as many that the smallest change "
    "(in L2) broke: the original, the change (grey is none, white and black the whole radius), and "
    "what the student was asked and answers. One forward pass over the evidence confirms them all "
    "(verify)."
)


def gallery(facts: Facts) -> Block | str | None:
    """A few broken examples of every student whose evidence lies beside its record."""
    rows = rows_in(facts)
    if not rows:
        return None
    shelves: dict[str, tuple[Picture, ...]] = {}
    for row in rows:
        if found := broken(facts, row.record, (DRAWN, NEAREST)):
            shelves[row.label] = found
    if not shelves:
        return "adversarial gallery: no evidence lies beside these records, or their data is away"
    return Block(words=(NOTE,), pictures=shelves)


def broken(facts: Facts, record: Record, sizes: tuple[int, int]) -> tuple[Picture, ...]:
    """Pictures of broken examples; none where the evidence or the data set is not here.

    Raises:
        BadRecord: where the evidence is damaged, or another than the record's.
    """
    path = facts.path(record)
    if not path.with_suffix(".safetensors").is_file():
        return ()
    raw = evidence_of(record, path)
    clean = images_of(facts, record)
    if clean is None:
        return ()
    budget = Budget(record.threat["norm"], record.threat["eps"])
    proof = restore(undump(raw, str(path))[0], clean, budget, f"beside {path}")
    moved = proof.inputs(clean, budget) - clean.inputs
    places = (proof.broke >= 0).nonzero().flatten()
    far = moved[places].flatten(1).norm(dim=1)
    chosen = _chosen(places, far, sizes, record.seed)
    said = _answers(facts, record, clean.inputs[chosen] + moved[chosen]) if chosen else []
    return tuple(
        _picture(facts, record, clean, moved, place, int(proof.broke[place]), budget, answer)
        for place, answer in zip(chosen, said, strict=True)
    )


def _answers(facts: Facts, record: Record, inputs: Images) -> list[str]:
    """What the student answers, in words; where it is not kept here, only that it is wrong."""
    scenario = _ground(facts, record)
    try:
        net = network_of(record, scenario)
    except BadModel:
        return ["answered wrongly"] * len(inputs)
    with held_still(net):
        answers = scenario.subject(net).answer(inputs).tolist()
    return [f"answered {shows(facts, record, answer)}" for answer in answers]


def shows(facts: Facts, record: Record | Planted, place: int) -> str:
    """What a class shows, or its number where it has no name."""
    called: tuple[str, ...] = getattr(_ground(facts, record), "called", ())
    return called[place] if place < len(called) else f"class {place}"


def _ground(facts: Facts, record: Record | Planted) -> Scenario:
    name = record.scenario
    return facts.once(("scenario", name), lambda: scenario_of(name))


def _chosen(
    places: torch.Tensor, far: torch.Tensor, sizes: tuple[int, int], seed: int
) -> list[int]:
    """Some drawn by a named seed, and of the rest those that were moved least."""
    generator = (Seed(seed) / "gallery").generator()
    shuffled = places[torch.randperm(len(places), generator=generator)].tolist()
    drawn = sorted(shuffled[: sizes[0]])
    nearest = [place for place in places[far.argsort(stable=True)].tolist() if place not in drawn]
    return drawn + nearest[: sizes[1]]


def images_of(facts: Facts, record: Record | Planted) -> Examples | None:
    """The images that a record is about; none where this machine has others or none."""
    data = (record.scenario, record.seed, record.data["examples"], record.data["ids"])
    return facts.once(data, lambda: _images(facts, record))


def _images(facts: Facts, record: Record | Planted) -> Examples | None:
    try:
        clean = clean_of(record, _ground(facts, record))
    except (MissingData, BadRecord):  # the section says that there is nothing to be seen
        return None
    return clean if clean.inputs.dim() == 4 else None


def _picture(
    facts: Facts,
    record: Record,
    clean: Examples,
    moved: torch.Tensor,
    place: int,
    attack: int,
    budget: Budget,
    answer: str,
) -> Picture:
    change = moved[place]
    true = shows(facts, record, int(clean.targets[place]))
    words = (
        f"Test example {int(clean.ids[place])}, {true}, {answer}; broken by "
        f"{record.cells[attack].attack}; L2 {float(change.norm()):.2f}, "
        f"Linf {float(change.abs().max()):.3f}"
    )
    return Picture(triple(clean.inputs[place], change, budget), words)


def triple(
    original: torch.Tensor, change: torch.Tensor, budget: Budget
) -> tuple[tuple[str, bytes], ...]:
    """Original, change and sum; a change in Linf is shown by its radius, another by its largest."""
    reach = float(change.abs().max()) if budget.kind != "linf" else budget.amount
    grown = 0.5 + change / (2 * reach) if reach else torch.full_like(change, 0.5)
    return (
        ("original", pixels(original)),
        (f"change x {1 / (2 * reach):.3g}" if reach else "no change", pixels(grown)),
        ("asked", pixels(original + change)),
    )


def pixels(image: torch.Tensor) -> bytes:
    """An image in [0, 1] as a PNG."""
    whole = (image.clamp(0, 1) * 255).round().to(torch.uint8)
    return png(whole.permute(1, 2, 0).numpy())


def shelf(pictures: Sequence[Picture], title: str) -> Block:
    """One student's pictures."""
    return Block(words=(NOTE,), pictures={title: tuple(pictures)})


SECTIONS = (Section("gallery", "Adversarial gallery", 70, gallery),)
