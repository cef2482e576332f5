"""Beam search against enumeration and greedy search."""

from __future__ import annotations

from itertools import pairwise, product
from typing import Any

import torch
from torch import Tensor

from robustbench_kd.core.seed import Seed
from robustbench_kd.ops.privacy.beam_search import beam_search

WORDS, LENGTH = 4, 3


class Chain:
    """A model in which the next word depends on the last one alone, its memory."""

    positions = 100

    def __init__(self) -> None:
        scores = torch.randn(WORDS, WORDS, generator=(Seed() / "chain").generator())
        self.log_p = (3 * scores).log_softmax(1)

    def open(self, ids: Tensor) -> tuple[Tensor, Any]:
        return self.log_p[ids[-1:]], ids[-1:]

    def step(self, memory: Any, rows: Tensor, ids: Tensor) -> tuple[Tensor, Any]:
        assert int(rows.max()) < len(memory)
        return self.log_p[ids], ids

    def score(self, first: int, continuation: tuple[int, ...]) -> float:
        return sum(float(self.log_p[a, b]) for a, b in pairwise((first, *continuation)))


def test_a_beam_as_wide_as_the_space_returns_all_of_it_in_order() -> None:
    model = Chain()
    space = set(product(range(WORDS), repeat=LENGTH))
    beams = beam_search(model, torch.tensor([0, 2]), LENGTH, len(space)).tolist()
    continuations = [tuple(beam) for beam in beams]
    assert set(continuations) == space
    scores = [model.score(2, continuation) for continuation in continuations]
    assert all(a >= b - 1e-5 for a, b in pairwise(scores)), "rotations of a cycle tie"


def test_a_beam_of_one_is_greedy() -> None:
    model, token, greedy = Chain(), 1, []
    for _ in range(LENGTH):
        token = int(model.log_p[token].argmax())
        greedy.append(token)
    assert beam_search(model, torch.tensor([1]), LENGTH, 1).tolist() == [greedy]
