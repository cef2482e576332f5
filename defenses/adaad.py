"""AdaAD: the attack seeks where student and teacher differ most, and the loss closes the gap."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from robustbench_kd.core.protocols import Brief
from robustbench_kd.core.tensor_types import Scalar
from robustbench_kd.core.types import Examples
from robustbench_kd.defenses._base import AdversarialRecipe, between
from robustbench_kd.ops.attacks.gradients import held_still
from robustbench_kd.ops.attacks.pgd import worst_case
from robustbench_kd.ops.attacks.projections import near_start
from robustbench_kd.ops.losses import divergence
from robustbench_kd.training.trainer import Objective, Turn, remember


@dataclass(frozen=True)
class AdaAD(AdversarialRecipe):
    """The teacher answers at x' too, and the inner gradient flows through it.

    Each inner step asks teacher and student, so a run costs about four times the others'.
    """

    name: ClassVar[str] = "adaad"
    source: ClassVar[str] = "Huang et al. 2023, Boosting accuracy and robustness, eq. 5 and 6"
    formula: ClassVar[str] = (
        "alpha KL(T_r(x') || S(x')) + (1 - alpha) KL(T_r(x) || S(x)), "
        "x' = argmax KL(T_r(x') || S(x'))"
    )

    alpha: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        between("alpha", self.alpha, 0, 1)

    @property
    def needs(self) -> tuple[str, ...]:
        return ("robust",)

    def loss(self, brief: Brief) -> Objective:
        teacher = brief.teachers["robust"]
        says = remember(teacher, brief.data)

        def objective(student: nn.Module, batch: Examples, turn: Turn) -> Scalar:
            x = batch.inputs
            with held_still(teacher):
                z = worst_case(
                    student,
                    x,
                    brief.budget,
                    lambda s, z: divergence(teacher(z), s),
                    steps=self.steps,
                    stride=self.stride,
                    start=near_start(x, turn.noise),
                )
            with torch.no_grad():
                target = teacher(z)
            moved, plain = student(z), student(x)
            apart = self.alpha * divergence(target, moved)
            return (apart + (1 - self.alpha) * divergence(says(batch.ids), plain)).mean()

        return objective
