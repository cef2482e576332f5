"""MTARD: a robust teacher for attacked inputs, a clean one for plain inputs, and a balance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import nn

from robustbench_kd.core.protocols import Brief
from robustbench_kd.core.tensor_types import Scalar
from robustbench_kd.core.types import Examples
from robustbench_kd.defenses._base import AdversarialRecipe, between
from robustbench_kd.ops.attacks.pgd import worst_case
from robustbench_kd.ops.attacks.projections import near_start
from robustbench_kd.ops.loss_balancing import Entropies, Shares
from robustbench_kd.ops.losses import cross_entropy, divergence
from robustbench_kd.training.trainer import Objective, Turn, remember


@dataclass(frozen=True)
class MTARD(AdversarialRecipe):
    """Multi-teacher adversarial robustness distillation.

    ``balance=normalisation`` weighs the two losses by their relative progress (NLB);
    ``balance=entropy`` also heats the teacher that is surer of itself until both are equally
    unsure (EBB, the form called B-MTARD). ``heat`` is the step of a temperature: the paper's 0.001
    takes thousands of batches, and short schedules do not have them.
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
        between("pace", self.pace, 0, 1)
        between("heat", self.heat, 0, 1)

    @property
    def needs(self) -> tuple[str, ...]:
        return ("robust", "clean")

    def loss(self, brief: Brief) -> Objective:
        return Balanced(self, brief)


class Balanced:
    """The loss and the balance it carries from batch to batch."""

    def __init__(self, settings: MTARD, brief: Brief) -> None:
        self.settings, self.brief = settings, brief
        self.robust = brief.teachers["robust"]
        self.says = remember(brief.teachers["clean"], brief.data)
        self.shares, self.entropies = Shares(), Entropies()

    def __call__(self, student: nn.Module, batch: Examples, turn: Turn) -> Scalar:
        x, y, settings = batch.inputs, batch.targets, self.settings
        z = worst_case(
            student,
            x,
            self.brief.budget,
            lambda s, _: cross_entropy(s, y),
            steps=settings.steps,
            stride=settings.stride,
            start=near_start(x, turn.noise),
        )
        with torch.no_grad():
            robust = self.robust(z) / self.entropies.robust
        clean = self.says(batch.ids) / self.entropies.clean
        moved = divergence(robust, student(z)).mean()
        plain = divergence(clean, student(x)).mean()
        slow = 0.1 if turn.done >= 0.85 else 1.0  # with the last falls of the learning rate
        if settings.balance == "entropy":
            self.entropies.move(robust, clean, settings.heat * slow)
        self.shares.move(float(moved.detach()), float(plain.detach()), settings.pace * slow)
        return self.shares.robust * moved + self.shares.clean * plain

    def state_dict(self) -> dict[str, dict[str, float]]:
        """What a run that is taken up again must know."""
        return {"shares": vars(self.shares), "entropies": vars(self.entropies)}

    def load_state_dict(self, state: dict[str, dict[str, float]]) -> None:
        self.shares, self.entropies = Shares(**state["shares"]), Entropies(**state["entropies"])
