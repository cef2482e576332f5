"""Fine-tuning on trusted images: the control beside which every other repair is read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from robustbench_kd.core.protocols import Brief
from robustbench_kd.defenses._base import Tuning, trusted
from robustbench_kd.training.fine_tuning import fine_tune


@dataclass(frozen=True)
class FineTuning(Tuning):
    """Goes on training, by labels, on the trusted images."""

    name: ClassVar[str] = "fine-tuning"
    source: ClassVar[str] = "the control; FT in BackdoorBench (Wu et al. 2022)"
    formula: ClassVar[str] = "CE(y, S(x)) on trusted x, from the given weights"

    def harden(self, brief: Brief) -> nn.Module:
        """The mended copy of the given network."""
        return fine_tune(
            brief.teachers["given"],
            trusted(brief),
            self.schedule(self.epochs),
            brief.seed / "student",
            shift=self.shift,
            progress=brief.progress,
        )
