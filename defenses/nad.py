"""Neural attention distillation (NAD): a fine-tuned copy guides the given model by its maps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from robustbench_kd.core.protocols import TrainingContext
from robustbench_kd.core.tensor_types import Scalar
from robustbench_kd.core.types import Examples
from robustbench_kd.defenses._base import FineTuningRepair, check_range, trusted_examples
from robustbench_kd.models.feature_extraction import stage_activations, stages
from robustbench_kd.ops.attention_transfer import attention_distance
from robustbench_kd.ops.losses import cross_entropy
from robustbench_kd.training.fine_tuning import fine_tune
from robustbench_kd.training.trainer import Objective, TrainStep


@dataclass(frozen=True)
class NAD(FineTuningRepair):
    """The teacher starts from the same poisoned weights; it is the repair ``fine-tuning``.

    The released code weighs the maps by 500, 1000 and 1000; a tenth is the default here. Maps of
    28x28 images have a fifth of the positions that the mean is taken over, so the same weight pulls
    harder.

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
            check_range(name, getattr(self, name), 0, 1e6)
        check_range("power", self.power, 1, 8)
        self.schedule(self.teaching)

    def train(self, context: TrainingContext) -> nn.Module:
        """The given network, distilled from its own fine-tuned copy.

        Raises:
            BadModel: for a network without stages.
        """
        given, trusted = context.teachers["given"], trusted_examples(context)
        stages(given)  # refuses a network without any before anything is trained
        teacher = fine_tune(
            given,
            trusted,
            self.schedule(self.teaching),
            context.seed / "teacher",
            shift=self.shift,
            progress=context.progress,
        )
        return fine_tune(
            given,
            trusted,
            self.schedule(self.epochs),
            context.seed / "student",
            shift=self.shift,
            objective=self.loss(teacher),
            progress=context.progress,
        )

    def loss(self, teacher: nn.Module) -> Objective:
        """Labels, and the attention maps of a teacher in eval mode, on the same images."""
        weights = (self.early, self.middle, self.late)

        def objective(student: nn.Module, batch: Examples, step: TrainStep) -> Scalar:
            logits, student_maps = stage_activations(student, batch.inputs)
            with torch.no_grad():
                _, teacher_maps = stage_activations(teacher, batch.inputs)
            loss = cross_entropy(logits, batch.targets)
            depth = min(len(student_maps), len(weights))
            for stage, beta in zip(list(student_maps)[-depth:], weights[-depth:], strict=True):
                distance = attention_distance(student_maps[stage], teacher_maps[stage], self.power)
                loss = loss + beta * distance
            return loss.mean()

        return objective
