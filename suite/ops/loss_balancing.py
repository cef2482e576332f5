"""Weights and temperatures that adapt while a student learns from two teachers."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from robustbench_kd.core.tensor_types import Logits


@dataclass
class Shares:
    """Normalisation loss balance: the loss that has fallen less gets the larger weight.

    Each loss is divided by its first value; the clean weight follows the clean share of the two at
    rate ``pace`` (Zhao et al. 2022, eq. 6 to 8, with beta = 1). The weights sum to one.
    """

    clean: float = 0.5
    first_robust: float | None = None
    first_clean: float | None = None

    @property
    def robust(self) -> float:
        return 1 - self.clean

    def move(self, robust: float, clean: float, pace: float) -> None:
        """Takes in the two losses of a batch; the new weights hold for this very batch."""
        if self.first_robust is None or self.first_clean is None:
            self.first_robust, self.first_clean = robust, clean
        relative_robust = robust / max(self.first_robust, 1e-12)
        relative_clean = clean / max(self.first_clean, 1e-12)
        share = relative_clean / max(relative_clean + relative_robust, 1e-12)
        self.clean -= pace * (self.clean - share)


@dataclass
class Entropies:
    """Entropy-based balance: temperatures of two teachers, moved until both are equally unsure.

    The temperature of the surer teacher rises and that of the other falls, by a fixed step, within
    [1, 10] (Zhao et al. 2024, Mitigating accuracy-robustness trade-off). New temperatures take
    effect with the next batch.
    """

    robust: float = 1.0
    clean: float = 1.0

    def move(self, robust: Logits, clean: Logits, step: float) -> None:
        """Takes in the softened logits of both teachers."""
        gap = float(entropy(robust)) - float(entropy(clean))
        direction = math.copysign(1.0, gap) if gap else 0.0
        self.robust = min(10.0, max(1.0, self.robust - step * direction))
        self.clean = min(10.0, max(1.0, self.clean + step * direction))


def entropy(logits: Logits) -> torch.Tensor:
    """The mean entropy of the batch, in nats."""
    log = logits.log_softmax(1)
    return -(log.exp() * log).sum(1).mean()
