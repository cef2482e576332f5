"""No teacher and no attack: the undistilled control."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from robustbench_kd.defenses import Recipe
from robustbench_kd.ops.losses import cross_entropy
from robustbench_kd.protocols import Brief
from robustbench_kd.shapes import Scalar
from robustbench_kd.train import Objective, Turn
from robustbench_kd.types import Examples


@dataclass(frozen=True)
class Labels(Recipe):
    """Cross-entropy with the labels on plain inputs."""

    name: ClassVar[str] = "labels"
    source: ClassVar[str] = "the control"
    formula: ClassVar[str] = "CE(y, S(x))"

    def loss(self, brief: Brief) -> Objective:
        def objective(student: nn.Module, batch: Examples, turn: Turn) -> Scalar:
            return cross_entropy(student(batch.inputs), batch.targets).mean()

        return objective
