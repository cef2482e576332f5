"""RSLAD: the robust teacher's soft labels everywhere, in the attack as in the loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from robustbench_kd.core.protocols import Brief
from robustbench_kd.core.tensor_types import Scalar
from robustbench_kd.core.types import Examples
from robustbench_kd.defenses._base import AdversarialRecipe, between
from robustbench_kd.ops.attacks.pgd import worst_case
from robustbench_kd.ops.attacks.projections import near_start
from robustbench_kd.ops.losses import divergence
from robustbench_kd.training.trainer import Objective, Turn, remember


@dataclass(frozen=True)
class RSLAD(AdversarialRecipe):
    """No hard label anywhere; ``share`` is the weight of the adversarial term."""

    name: ClassVar[str] = "rslad"
    source: ClassVar[str] = "Zi et al. 2021, Revisiting adversarial robustness distillation, eq. 4"
    formula: ClassVar[str] = (
        "share KL(T_r(x) || S(x')) + (1 - share) KL(T_r(x) || S(x)), "
        "x' = argmax KL(T_r(x) || S(x'))"
    )

    share: float = 5 / 6

    def __post_init__(self) -> None:
        super().__post_init__()
        between("share", self.share, 0, 1)

    @property
    def needs(self) -> tuple[str, ...]:
        return ("robust",)

    def loss(self, brief: Brief) -> Objective:
        says = remember(brief.teachers["robust"], brief.data)

        def objective(student: nn.Module, batch: Examples, turn: Turn) -> Scalar:
            x, target = batch.inputs, says(batch.ids)
            z = worst_case(
                student,
                x,
                brief.budget,
                lambda s, _: divergence(target, s),
                steps=self.steps,
                stride=self.stride,
                start=near_start(x, turn.noise),
            )
            moved, plain = divergence(target, student(z)), divergence(target, student(x))
            return (self.share * moved + (1 - self.share) * plain).mean()

        return objective
