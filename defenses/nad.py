"""Neural attention distillation: a fine-tuned copy teaches the given network where to look."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from robustbench_kd.core.protocols import Brief
from robustbench_kd.core.tensor_types import Scalar
from robustbench_kd.core.types import Examples
from robustbench_kd.defenses._base import Tuning, between, trusted
from robustbench_kd.models.feature_extraction import stages, tap
from robustbench_kd.ops.attention_transfer import attention_distance
from robustbench_kd.ops.losses import cross_entropy
from robustbench_kd.training.fine_tuning import fine_tune
from robustbench_kd.training.trainer import Objective, Turn


@dataclass(frozen=True)
class NAD(Tuning):
    """The teacher starts from the same tainted weights; it is the repair called fine-tuning.

    The released code weighs the maps by 500, 1000 and 1000; a tenth is the default here. Maps of
    28x28 images have a fifth of the positions that the mean is taken over, and are pulled harder.

    Args:
        early, middle, late: weights of the attention maps of the last three stages; a network with
            two stages uses the last two.
        power: the p of the attention maps.
        teaching: epochs in which the teacher is fine-tuned.
        epochs: epochs of the student; batch, rate and shift are the same for both.
    """

    name: ClassVar[str] = "nad"
    source: ClassVar[str] = "Li et al. 2021, Neural Attention Distillation (ICLR), arXiv 2101.05930"
    formula: ClassVar[str] = "CE(y, S(x)) + sum_l beta_l |A_l(S, x) - A_l(T, x)|^2, T fine-tuned"

    early: float = 50.0
    middle: float = 100.0
    late: float = 100.0
    power: float = 2.0
    teaching: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("early", "middle", "late"):
            between(name, getattr(self, name), 0, 1e6)
        between("power", self.power, 1, 8)
        self.schedule(self.teaching)

    def harden(self, brief: Brief) -> nn.Module:
        """The given network, after it has learned from its own fine-tuned copy.

        Raises:
            BadModel: for a network without stages.
        """
        given, clean = brief.teachers["given"], trusted(brief)
        stages(given)  # a network without any is refused before anything is trained
        teacher = fine_tune(
            given,
            clean,
            self.schedule(self.teaching),
            brief.seed / "teacher",
            shift=self.shift,
            progress=brief.progress,
        )
        return fine_tune(
            given,
            clean,
            self.schedule(self.epochs),
            brief.seed / "student",
            shift=self.shift,
            objective=self.loss(teacher),
            progress=brief.progress,
        )

    def loss(self, teacher: nn.Module) -> Objective:
        """Labels, and the attention maps of a teacher in eval mode, on the same images."""
        weights = (self.early, self.middle, self.late)

        def objective(student: nn.Module, batch: Examples, turn: Turn) -> Scalar:
            answers, mine = tap(student, batch.inputs)
            with torch.no_grad():
                _, theirs = tap(teacher, batch.inputs)
            total = cross_entropy(answers, batch.targets)
            depth = min(len(mine), len(weights))
            for stage, beta in zip(list(mine)[-depth:], weights[-depth:], strict=True):
                total = total + beta * attention_distance(mine[stage], theirs[stage], self.power)
            return total.mean()

        return objective
