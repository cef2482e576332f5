"""Beam search against all there is."""

from __future__ import annotations

from itertools import pairwise, product
from typing import Any

import torch
from torch import Tensor

from robustbench_kd.core.seed import Seed
from robustbench_kd.ops.privacy.beam_search import beam

WORDS, LENGTH = 4, 3


class Chain:
    """A model in which the next word hangs on the last one alone; it remembers that word."""

    positions = 100

    def __init__(self) -> None:
        drawn = torch.randn(WORDS, WORDS, generator=(Seed() / "chain").generator())
        self.logp = (3 * drawn).log_softmax(1)

    def open(self, ids: Tensor) -> tuple[Tensor, Any]:
        return self.logp[ids[-1:]], ids[-1:]

    def step(self, memory: Any, rows: Tensor, ids: Tensor) -> tuple[Tensor, Any]:
        assert int(rows.max()) < len(memory)
        return self.logp[ids], ids

    def score(self, first: int, said: tuple[int, ...]) -> float:
        path = (first, *said)
        return sum(float(self.logp[a, b]) for a, b in pairwise(path))


def test_a_beam_as_wide_as_the_space_finds_all_of_it_in_order() -> None:
    model = Chain()
    every = set(product(range(WORDS), repeat=LENGTH))
    found = [tuple(s) for s in beam(model, torch.tensor([0, 2]), LENGTH, len(every)).tolist()]
    assert set(found) == every
    scores = [model.score(2, said) for said in found]
    assert all(a >= b - 1e-5 for a, b in pairwise(scores)), "ways round a circle tie"


def test_a_beam_of_one_is_greedy() -> None:
    model, last, said = Chain(), 1, []
    for _ in range(LENGTH):
        last = int(model.logp[last].argmax())
        said.append(last)
    assert beam(model, torch.tensor([1]), LENGTH, 1).tolist() == [said]
