"""IAD: weighs the teacher by the probability it gives the label of the attacked input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from robustbench_kd.core.protocols import TrainingContext
from robustbench_kd.core.tensor_types import Scalar
from robustbench_kd.core.types import Examples
from robustbench_kd.defenses._base import AdversarialRecipe, check_range
from robustbench_kd.ops.attacks.projections import uniform_start
from robustbench_kd.ops.losses import cross_entropy, divergence
from robustbench_kd.training.trainer import Objective, TrainStep, cached_logits


@dataclass(frozen=True)
class IAD(AdversarialRecipe):
    """Introspective adversarial distillation (IAD-I).

    After the share ``begin`` of training, the student's own answer on the clean input takes over
    where the teacher is unsure of x': its weight is 1 - T_r(x')[y]^trust. The first term keeps its
    full weight, as in the authors' runs.
    """

    name: ClassVar[str] = "iad"
    source: ClassVar[str] = "Zhu et al. 2022, Reliable adversarial distillation, eq. 5"
    formula: ClassVar[str] = (
        "KL(T_r(x) || S(x')) + (1 - T_r(x')[y]^trust) KL(S(x) || S(x')) from `begin` on, "
        "x' = argmax CE(y, S(x'))"
    )

    trust: float = 0.1
    begin: float = 0.3

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("trust", self.trust, 0, 100)
        check_range("begin", self.begin, 0, 1)

    @property
    def teacher_roles(self) -> tuple[str, ...]:
        return ("robust",)

    def loss(self, context: TrainingContext) -> Objective:
        teacher = context.teachers["robust"]
        teacher_logits = cached_logits(teacher, context.data)

        def objective(student: nn.Module, batch: Examples, step: TrainStep) -> Scalar:
            x, y = batch.inputs, batch.targets
            x_adv = self.inner_attack(
                student,
                x,
                context.budget,
                lambda logits, _: cross_entropy(logits, y),
                uniform_start(x, context.budget, step.noise),
            )
            adversarial, clean = student(x_adv), student(x)
            loss = divergence(teacher_logits(batch.ids), adversarial)
            if step.fraction >= self.begin:
                with torch.no_grad():
                    probability = teacher(x_adv).softmax(1).gather(1, y[:, None]).squeeze(1)
                loss = loss + (1 - probability**self.trust) * divergence(clean, adversarial)
            return loss.mean()

        return objective
