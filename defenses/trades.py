"""TRADES: accuracy on clean inputs traded for agreement within the ball."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from robustbench_kd.core.protocols import TrainingContext
from robustbench_kd.core.tensor_types import Scalar
from robustbench_kd.core.types import Examples
from robustbench_kd.defenses._base import AdversarialRecipe, check_range
from robustbench_kd.ops.attacks.gradients import frozen_eval_mode
from robustbench_kd.ops.attacks.projections import gaussian_start
from robustbench_kd.ops.losses import cross_entropy, divergence
from robustbench_kd.training.trainer import Objective, TrainStep


@dataclass(frozen=True)
class Trades(AdversarialRecipe):
    """The target S(x) is not detached: the gradient flows through both sides of the divergence."""

    name: ClassVar[str] = "trades"
    source: ClassVar[str] = "Zhang et al. 2019, Theoretically principled trade-off, eq. 5"
    formula: ClassVar[str] = "CE(y, S(x)) + beta KL(S(x) || S(x')), x' = argmax KL(S(x) || S(x'))"

    beta: float = 6.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("beta", self.beta, 0, 1000)

    def loss(self, context: TrainingContext) -> Objective:
        def objective(student: nn.Module, batch: Examples, step: TrainStep) -> Scalar:
            x, y = batch.inputs, batch.targets
            with frozen_eval_mode(student), torch.no_grad():
                target = student(x)
            x_adv = self.inner_attack(
                student,
                x,
                context.budget,
                lambda logits, _: divergence(target, logits),
                gaussian_start(x, step.noise),
            )
            adversarial, clean = student(x_adv), student(x)
            return (cross_entropy(clean, y) + self.beta * divergence(clean, adversarial)).mean()

        return objective
