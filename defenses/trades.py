"""TRADES: accuracy on plain inputs traded for agreement within the ball."""

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
from robustbench_kd.ops.losses import cross_entropy, divergence
from robustbench_kd.training.trainer import Objective, Turn


@dataclass(frozen=True)
class Trades(AdversarialRecipe):
    """The target S(x) is not detached: the gradient flows through both sides of the divergence."""

    name: ClassVar[str] = "trades"
    source: ClassVar[str] = "Zhang et al. 2019, Theoretically principled trade-off, eq. 5"
    formula: ClassVar[str] = "CE(y, S(x)) + beta KL(S(x) || S(x')), x' = argmax KL(S(x) || S(x'))"

    beta: float = 6.0

    def __post_init__(self) -> None:
        super().__post_init__()
        between("beta", self.beta, 0, 1000)

    def loss(self, brief: Brief) -> Objective:
        def objective(student: nn.Module, batch: Examples, turn: Turn) -> Scalar:
            x, y = batch.inputs, batch.targets
            with held_still(student), torch.no_grad():
                target = student(x)
            z = worst_case(
                student,
                x,
                brief.budget,
                lambda s, _: divergence(target, s),
                steps=self.steps,
                stride=self.stride,
                start=near_start(x, turn.noise),
            )
            moved, plain = student(z), student(x)
            return (cross_entropy(plain, y) + self.beta * divergence(plain, moved)).mean()

        return objective
