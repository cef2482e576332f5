"""Transfer learning: the clean teacher's features under a last layer that is trained anew."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from robustbench_kd.core.protocols import TrainingContext
from robustbench_kd.core.types import Examples
from robustbench_kd.defenses._base import Recipe
from robustbench_kd.models.feature_extraction import features, last_linear
from robustbench_kd.training.objectives import label_loss
from robustbench_kd.training.trainer import Objective, fit


@dataclass(frozen=True)
class TransferLearning(Recipe):
    """A copy of the clean teacher, all but its head frozen; the victim of feature collisions."""

    name: ClassVar[str] = "transfer-learning"
    source: ClassVar[str] = "Shafahi et al. 2018, Poison Frogs: the victim in transfer learning"
    formula: ClassVar[str] = "CE(y, head(T_c's features of x)), by the head alone"
    starts_from: ClassVar[str] = "clean"
    net: ClassVar[str] = "teacher"

    @property
    def teacher_roles(self) -> tuple[str, ...]:
        return ("clean",)

    def loss(self, context: TrainingContext) -> Objective:
        return label_loss

    def train(self, context: TrainingContext) -> nn.Module:
        """Trains the head of a copy of the teacher, on features that are computed once."""
        student = copy.deepcopy(context.teachers["clean"]).eval().requires_grad_(True)
        with torch.no_grad():
            parts = [features(student, part) for part in context.data.inputs.split(500)]
        data = Examples(context.data.ids, torch.cat(parts), context.data.targets)
        head = fit(
            last_linear(student),
            data,
            self.loss(context),
            context.schedule,
            context.seed / "student",
            context.progress,
        )
        last_linear(student).load_state_dict(head.state_dict())
        return student
