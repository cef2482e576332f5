"""The goal of an evasion attack, so that one loop serves the untargeted and the targeted form."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from robustbench_kd.core.tensor_types import Labels, Logits, Mask, PerExample
from robustbench_kd.ops.losses import cross_entropy, margin


@dataclass(frozen=True)
class Goal:
    """Any class but the label, or exactly the target class where ``targets`` are given."""

    labels: Labels
    targets: Labels | None = None

    def take(self, index: Tensor) -> Goal:
        """The goal of some rows."""
        return Goal(self.labels[index], None if self.targets is None else self.targets[index])

    def is_reached(self, logits: Logits) -> Mask:
        """Whether the predicted class meets the goal."""
        predictions = logits.argmax(1)
        if self.targets is None:
            return predictions != self.labels
        return predictions == self.targets

    def cross_entropy(self, logits: Logits) -> PerExample:
        """A score that rises towards the goal: the loss of the label, or minus the target's."""
        if self.targets is None:
            return cross_entropy(logits, self.labels)
        return -cross_entropy(logits, self.targets)

    def margin(self, logits: Logits) -> PerExample:
        """The margin of the goal: above zero exactly where it is reached."""
        if self.targets is None:
            return -margin(logits, self.labels)
        return margin(logits, self.targets)
