"""The input that broke each example survives its file, and a damaged file is named."""

from __future__ import annotations

import pytest
import torch

from robustbench_kd.core.config import Budget
from robustbench_kd.core.errors import BadRecord
from robustbench_kd.core.paths import shipped
from robustbench_kd.core.types import Examples
from robustbench_kd.ops.attacks.quantization import encode
from robustbench_kd.results.adversarial_examples import (
    AdversarialExamples,
    first_adversarial_examples,
    parse,
)
from robustbench_kd.results.artifacts import dump, undump
from robustbench_kd.results.store import read_evidence, read_record

BUDGET = Budget("linf", 0.1)


def clean() -> Examples:
    inputs = torch.full((4, 1, 2, 2), 0.5)
    return Examples(torch.tensor([7, 5, 9, 1]), inputs, torch.zeros(4, dtype=torch.int64))


def examples() -> AdversarialExamples:
    """The first is never correct, the next falls to attack 2, the next to attack 1; one to none."""
    correct = [
        torch.tensor([False, True, True, True]),
        torch.tensor([False, True, False, True]),
        torch.tensor([False, False, False, True]),
    ]
    moved = [clean().inputs + by for by in (0.0, 0.05, -0.1)]
    codes = [encode(inputs, clean().inputs, BUDGET) for inputs in moved]
    return first_adversarial_examples(clean().ids, correct, codes)


def test_each_example_is_stored_with_the_first_attack_that_broke_it() -> None:
    assert examples().broken_by.tolist() == [-1, 2, 1, -1]
    inputs = examples().inputs(clean(), BUDGET)
    assert inputs[:, 0, 0, 0].tolist() == pytest.approx([0.5, 0.4, 0.55, 0.5], abs=4e-4)


def test_adversarial_examples_survive_their_file_and_damage_is_named() -> None:
    stored = examples().tensors()
    again = parse(stored, clean(), BUDGET, "here")
    assert torch.equal(again.codes, examples().codes)
    assert torch.equal(again.broken_by, examples().broken_by)
    damaged = [
        {name: stored[name] for name in ("ids", "broke")},
        {**stored, "codes": stored["codes"][:-3]},
        {**stored, "broke": torch.full((4,), -1, dtype=torch.int8)},
        {**stored, "ids": stored["ids"].flip(0)},
    ]
    for tensors in damaged:
        with pytest.raises(BadRecord, match="the evidence here"):
            parse(tensors, clean(), BUDGET, "here")


@pytest.mark.parametrize(("board", "side"), [("digits-linf", 8), ("fashion-linf", 28)])
def test_shipped_evidence_is_read_and_survives_being_written_again(board: str, side: int) -> None:
    """And the attack that it names for each example is the first by the record's own columns."""
    paths = sorted((shipped("records") / board).glob("*.json"))
    assert paths
    for path in paths[:3]:
        record = read_record(path)
        raw = read_evidence(record, path)
        tensors, metadata = undump(raw, str(path))
        ids = tensors["ids"]
        blank = Examples(ids, torch.zeros(len(ids), 1, side, side), torch.zeros_like(ids))
        budget = Budget(record.threat["norm"], record.threat["eps"])
        stored = parse(tensors, blank, budget, str(path))
        again = undump(dump(stored.tensors(), metadata), "again")[0]
        assert torch.equal(parse(again, blank, budget, "again").codes, stored.codes)
        assert len(stored.codes) == record.evidence["rows"]
        correct = [torch.tensor(record.bits(a, "student", "correct").flags) for a in record.attacks]
        codes = [torch.zeros(blank.inputs.shape, dtype=torch.int8)] * len(correct)
        first = first_adversarial_examples(ids, correct, codes)
        assert torch.equal(stored.broken_by, first.broken_by)
