"""ARD: the student on the attack's input answers as the robust teacher does on the plain one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from robustbench_kd.core.protocols import Brief
from robustbench_kd.core.tensor_types import Scalar
from robustbench_kd.core.types import Examples
from robustbench_kd.defenses._base import AdversarialRecipe, between
from robustbench_kd.ops.attacks.pgd import worst_case
from robustbench_kd.ops.attacks.projections import uniform_start
from robustbench_kd.ops.losses import cross_entropy, distillation
from robustbench_kd.training.trainer import Objective, Turn, remember


@dataclass(frozen=True)
class ARD(AdversarialRecipe):
    """Adversarially robust distillation, with the paper's temperature of 30 and no label term."""

    name: ClassVar[str] = "ard"
    source: ClassVar[str] = "Goldblum et al. 2020, Adversarially robust distillation, eq. 3"
    formula: ClassVar[str] = (
        "alpha t^2 KL(T_r^t(x) || S^t(x')) + (1 - alpha) CE(y, S(x)), x' = argmax CE(y, S(x'))"
    )

    alpha: float = 1.0
    temperature: float = 30.0

    def __post_init__(self) -> None:
        super().__post_init__()
        between("alpha", self.alpha, 0, 1)
        between("temperature", self.temperature, 0.1, 1000)

    @property
    def needs(self) -> tuple[str, ...]:
        return ("robust",)

    def loss(self, brief: Brief) -> Objective:
        says = remember(brief.teachers["robust"], brief.data)

        def objective(student: nn.Module, batch: Examples, turn: Turn) -> Scalar:
            x, y = batch.inputs, batch.targets
            z = worst_case(
                student,
                x,
                brief.budget,
                lambda s, _: cross_entropy(s, y),
                steps=self.steps,
                stride=self.stride,
                start=uniform_start(x, brief.budget, turn.noise),
            )
            # Both passes, even at alpha = 1: the running statistics see plain inputs as well.
            moved, plain = student(z), student(x)
            soft = distillation(moved, says(batch.ids), self.temperature)
            return (self.alpha * soft + (1 - self.alpha) * cross_entropy(plain, y)).mean()

        return objective
