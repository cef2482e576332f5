"""IAD: trusts the teacher as far as the teacher still knows the attacked input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from robustbench_kd.core.protocols import Brief
from robustbench_kd.core.tensor_types import Scalar
from robustbench_kd.core.types import Examples
from robustbench_kd.defenses._base import AdversarialRecipe, between
from robustbench_kd.ops.attacks.pgd import worst_case
from robustbench_kd.ops.attacks.projections import uniform_start
from robustbench_kd.ops.losses import cross_entropy, divergence
from robustbench_kd.training.trainer import Objective, Turn, remember


@dataclass(frozen=True)
class IAD(AdversarialRecipe):
    """Introspective adversarial distillation (IAD-I).

    After the share ``begin`` of training, the student's own plain answer takes over where the
    teacher is unsure of x': its weight is 1 - T_r(x')[y]^trust. The first term keeps its full
    weight, as in the authors' runs.
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
        between("trust", self.trust, 0, 100)
        between("begin", self.begin, 0, 1)

    @property
    def needs(self) -> tuple[str, ...]:
        return ("robust",)

    def loss(self, brief: Brief) -> Objective:
        teacher = brief.teachers["robust"]
        says = remember(teacher, brief.data)

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
            moved, plain = student(z), student(x)
            loss = divergence(says(batch.ids), moved)
            if turn.done >= self.begin:
                with torch.no_grad():
                    known = teacher(z).softmax(1).gather(1, y[:, None]).squeeze(1) ** self.trust
                loss = loss + (1 - known) * divergence(plain, moved)
            return loss.mean()

        return objective
