"""Loss weights and temperatures that adapt while a student learns from two teachers."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from robustbench_kd.core.tensor_types import Logits


@dataclass
class NormalizedLossBalance:
    """Normalisation loss balance (NLB): the loss that has fallen less gets the larger weight.

    Each loss is divided by its first value; the weight of the clean loss follows the clean share of
    the two at rate ``pace`` (Zhao et al. 2022, eq. 6 to 8, with beta = 1). The weights sum to one.
    """

    clean: float = 0.5
    first_robust: float | None = None
    first_clean: float | None = None

    @property
    def robust(self) -> float:
        return 1 - self.clean

    def update(self, robust: float, clean: float, pace: float) -> None:
        """Moves the weights by the two losses of a batch; they already hold for this batch."""
        if self.first_robust is None or self.first_clean is None:
            self.first_robust, self.first_clean = robust, clean
        relative_robust = robust / max(self.first_robust, 1e-12)
        relative_clean = clean / max(self.first_clean, 1e-12)
        share = relative_clean / max(relative_clean + relative_robust, 1e-12)
        self.clean -= pace * (self.clean - share)


@dataclass
class EntropyBalance:
    """Entropy-based balance (EBB): temperatures of two teachers, moved until their entropies agree.

    The temperature of the teacher of lower entropy rises and that of the other falls, by a fixed
    step, within [1, 10] (Zhao et al. 2024, Mitigating accuracy-robustness trade-off). New
    temperatures take effect with the next batch.
    """

    robust: float = 1.0
    clean: float = 1.0

    def update(self, robust: Logits, clean: Logits, step: float) -> None:
        """Moves the temperatures by the softened logits of both teachers."""
        gap = float(mean_entropy(robust)) - float(mean_entropy(clean))
        direction = math.copysign(1.0, gap) if gap else 0.0
        self.robust = min(10.0, max(1.0, self.robust - step * direction))
        self.clean = min(10.0, max(1.0, self.clean + step * direction))


def mean_entropy(logits: Logits) -> torch.Tensor:
    """The mean entropy of the predictions of a batch, in nats."""
    log_p = logits.log_softmax(1)
    return -(log_p.exp() * log_p).sum(1).mean()
