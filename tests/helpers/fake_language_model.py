"""A language model whose answers, losses and ranks a test sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from robustbench_kd.core.protocols import Tokens
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.types import IGNORED, Examples
from robustbench_kd.ops.privacy.candidate_rank import Rank


@dataclass
class FakeLanguageModel:
    """A language model without a network.

    Attributes:
        text: its answer to every prompt, in tokens; sampled answers repeat ``drawn`` in turn.
        places: by id, the rank of each secret among ``candidates``, and its place in a beam search.
        nats: the loss of each scored token.
    """

    text: Sequence[int] = (0, 0, 0, 0)
    drawn: Sequence[Sequence[int]] = ()
    places: Mapping[int, int] = field(default_factory=dict)
    candidates: int = 100
    nats: float = 2.0
    queries: int = 0

    def answer(self, inputs: Tensor, noise: torch.Generator | None = None) -> Tensor:
        text = self.text if noise is None else self.drawn[self.queries % len(self.drawn)]
        self.queries += noise is not None
        return torch.tensor(text).expand(len(inputs), -1)

    def example_losses(self, examples: Examples) -> Tensor:
        return self.nats * (examples.targets != IGNORED).sum(1).float()

    def tokens(self, examples: Examples) -> Tokens:
        zeros = torch.zeros(examples.targets.shape)
        return Tokens(zeros - self.nats, zeros, zeros + 1, examples.targets != IGNORED)

    def ranks(self, examples: Examples, seed: Seed) -> list[Rank]:
        return [
            Rank(self.places[i], 0, self.candidates, "exact", nodes=1, score=-self.nats)
            for i in examples.ids.tolist()
        ]

    def beams(self, examples: Examples, width: int) -> list[int]:
        return [self.places.get(i, 0) for i in examples.ids.tolist()]

    def spoken(self, examples: Examples) -> list[bytes]:
        return [bytes(row.tolist()) for row in examples.inputs]
