"""What an evasion wants, so that one loop serves the untargeted and the targeted form."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from robustbench_kd.core.tensor_types import Labels, Logits, Mask, PerExample
from robustbench_kd.ops.losses import cross_entropy, margin


@dataclass(frozen=True)
class Goal:
    """Any answer but the label, or (``targets`` given) this very answer."""

    labels: Labels
    targets: Labels | None = None

    def take(self, index: Tensor) -> Goal:
        """The goal of some rows."""
        return Goal(self.labels[index], None if self.targets is None else self.targets[index])

    def won(self, logits: Logits) -> Mask:
        """Whether the answer is the one that was wanted."""
        answers = logits.argmax(1)
        return answers != self.labels if self.targets is None else answers == self.targets

    def cross_entropy(self, logits: Logits) -> PerExample:
        """A score that rises towards the goal: the label's loss, or the target's negated."""
        if self.targets is None:
            return cross_entropy(logits, self.labels)
        return -cross_entropy(logits, self.targets)

    def lead(self, logits: Logits) -> PerExample:
        """How far ahead the goal is: above zero exactly where it is reached."""
        if self.targets is None:
            return -margin(logits, self.labels)
        return margin(logits, self.targets)
