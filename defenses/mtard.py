"""MTARD: a robust teacher for attacked inputs, a clean one for clean inputs, and a balance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import nn

from robustbench_kd.core.protocols import TrainingContext
from robustbench_kd.core.tensor_types import Scalar
from robustbench_kd.core.types import Examples
from robustbench_kd.defenses._base import AdversarialRecipe, check_range
from robustbench_kd.ops.attacks.projections import gaussian_start
from robustbench_kd.ops.loss_balancing import EntropyBalance, NormalizedLossBalance
from robustbench_kd.ops.losses import cross_entropy, divergence
from robustbench_kd.training.trainer import Objective, TrainStep, cached_logits


@dataclass(frozen=True)
class MTARD(AdversarialRecipe):
    """Multi-teacher adversarial robustness distillation.

    ``balance=normalisation`` weighs the two losses by their relative progress (NLB);
    ``balance=entropy`` also raises the temperature of the teacher of lower entropy until both agree
    (EBB, the form called B-MTARD). ``heat`` is the step of a temperature: the paper's 0.001 takes
    thousands of batches, and short schedules do not have them.
    """

    name: ClassVar[str] = "mtard"
    source: ClassVar[str] = "Zhao et al. 2022, Enhanced accuracy and robustness, eq. 4 to 8"
    formula: ClassVar[str] = (
        "w_a KL(T_r(x') || S(x')) + w_n KL(T_c(x) || S(x)), w_a + w_n = 1 by the relative losses, "
        "x' = argmax CE(y, S(x'))"
    )

    balance: Literal["normalisation", "entropy"] = "normalisation"
    pace: float = 0.025
    heat: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("pace", self.pace, 0, 1)
        check_range("heat", self.heat, 0, 1)

    @property
    def teacher_roles(self) -> tuple[str, ...]:
        return ("robust", "clean")

    def loss(self, context: TrainingContext) -> Objective:
        return BalancedLoss(self, context)


class BalancedLoss:
    """The loss, with the weights and temperatures that it carries from batch to batch."""

    def __init__(self, settings: MTARD, context: TrainingContext) -> None:
        self.settings, self.context = settings, context
        self.robust_teacher = context.teachers["robust"]
        self.clean_logits = cached_logits(context.teachers["clean"], context.data)
        self.weights, self.temperatures = NormalizedLossBalance(), EntropyBalance()

    def __call__(self, student: nn.Module, batch: Examples, step: TrainStep) -> Scalar:
        x, y, settings = batch.inputs, batch.targets, self.settings
        x_adv = settings.inner_attack(
            student,
            x,
            self.context.budget,
            lambda logits, _: cross_entropy(logits, y),
            gaussian_start(x, step.noise),
        )
        with torch.no_grad():
            robust_target = self.robust_teacher(x_adv) / self.temperatures.robust
        clean_target = self.clean_logits(batch.ids) / self.temperatures.clean
        adversarial = divergence(robust_target, student(x_adv)).mean()
        clean = divergence(clean_target, student(x)).mean()
        decay = 0.1 if step.fraction >= 0.85 else 1.0  # with the last falls of the learning rate
        if settings.balance == "entropy":
            self.temperatures.update(robust_target, clean_target, settings.heat * decay)
        pace = settings.pace * decay
        self.weights.update(float(adversarial.detach()), float(clean.detach()), pace)
        return self.weights.robust * adversarial + self.weights.clean * clean

    def state_dict(self) -> dict[str, dict[str, float]]:
        """What a resumed run must restore."""
        return {"shares": vars(self.weights), "entropies": vars(self.temperatures)}

    def load_state_dict(self, state: dict[str, dict[str, float]]) -> None:
        self.weights = NormalizedLossBalance(**state["shares"])
        self.temperatures = EntropyBalance(**state["entropies"])
