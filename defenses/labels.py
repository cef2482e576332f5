"""No teacher and no attack: the undistilled control."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from robustbench_kd.core.protocols import Brief
from robustbench_kd.defenses._base import Recipe
from robustbench_kd.training.objectives import by_labels
from robustbench_kd.training.trainer import Objective


@dataclass(frozen=True)
class Labels(Recipe):
    """Cross-entropy with the labels on plain inputs."""

    name: ClassVar[str] = "labels"
    source: ClassVar[str] = "the control"
    media: ClassVar[tuple[str, ...]] = ("images", "text")
    formula: ClassVar[str] = "CE(y, S(x))"

    def loss(self, brief: Brief) -> Objective:
        return by_labels
