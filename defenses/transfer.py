"""Transfer learning: the clean teacher's features under a last layer that is trained again."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from robustbench_kd.core.protocols import Brief
from robustbench_kd.core.types import Examples
from robustbench_kd.defenses._base import Recipe
from robustbench_kd.models.head import features, head_of
from robustbench_kd.training.objectives import by_labels
from robustbench_kd.training.trainer import Objective, fit


@dataclass(frozen=True)
class Transfer(Recipe):
    """A copy of the clean teacher, all but its head frozen; the victim of feature collisions."""

    name: ClassVar[str] = "transfer"
    source: ClassVar[str] = "Shafahi et al. 2018, Poison Frogs: the victim in transfer learning"
    formula: ClassVar[str] = "CE(y, head(T_c's features of x)), by the head alone"
    starts_from: ClassVar[str] = "clean"
    net: ClassVar[str] = "teacher"

    @property
    def needs(self) -> tuple[str, ...]:
        return ("clean",)

    def loss(self, brief: Brief) -> Objective:
        return by_labels

    def harden(self, brief: Brief) -> nn.Module:
        """Trains a copy of the teacher's head; frozen features are the same in every epoch."""
        student = copy.deepcopy(brief.teachers["clean"]).eval().requires_grad_(True)
        with torch.no_grad():
            seen = [features(student, part) for part in brief.data.inputs.split(500)]
        data = Examples(brief.data.ids, torch.cat(seen), brief.data.targets)
        seed = brief.seed / "student"
        head = fit(head_of(student), data, self.loss(brief), brief.schedule, seed, brief.progress)
        head_of(student).load_state_dict(head.state_dict())
        return student
