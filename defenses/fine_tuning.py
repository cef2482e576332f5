"""Fine-tuning on trusted images: the control beside which every other repair is read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from robustbench_kd.defenses import Repair, between, trusted
from robustbench_kd.mending import fine_tune
from robustbench_kd.protocols import Brief
from robustbench_kd.types import Schedule


@dataclass(frozen=True)
class FineTuning(Repair):
    """Goes on training, by labels. The schedule of the brief is for training from scratch.

    Args:
        rate: the peak of the learning rate. A small one leaves the backdoor where it is.
        shift: images are moved by up to so many pixels each way.
    """

    name: ClassVar[str] = "fine-tuning"
    source: ClassVar[str] = "the control; FT in BackdoorBench (Wu et al. 2022)"
    formula: ClassVar[str] = "CE(y, S(x)) on trusted x, from the given weights"

    epochs: int = 20
    batch: int = 64
    rate: float = 0.05
    shift: int = 2

    def __post_init__(self) -> None:
        between("shift", self.shift, 0, 8)
        self.schedule()

    def schedule(self) -> Schedule:
        """How long and how fast."""
        return Schedule(epochs=self.epochs, batch=self.batch, rate=self.rate)

    def harden(self, brief: Brief) -> nn.Module:
        """The mended copy of the given network."""
        return fine_tune(
            brief.teachers["given"],
            trusted(brief),
            self.schedule(),
            brief.seed / "student",
            shift=self.shift,
            progress=brief.progress,
        )
