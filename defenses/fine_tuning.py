"""Fine-tuning on trusted images: the control that every other repair is compared with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from robustbench_kd.core.protocols import TrainingContext
from robustbench_kd.defenses._base import FineTuningRepair, trusted_examples
from robustbench_kd.training.fine_tuning import fine_tune


@dataclass(frozen=True)
class FineTuning(FineTuningRepair):
    """Further training by labels, on the trusted images."""

    name: ClassVar[str] = "fine-tuning"
    source: ClassVar[str] = "the control; FT in BackdoorBench (Wu et al. 2022)"
    formula: ClassVar[str] = "CE(y, S(x)) on trusted x, from the given weights"

    def train(self, context: TrainingContext) -> nn.Module:
        """The fine-tuned copy of the given network."""
        return fine_tune(
            context.teachers["given"],
            trusted_examples(context),
            self.schedule(self.epochs),
            context.seed / "student",
            shift=self.shift,
            progress=context.progress,
        )
