"""Projected gradient ascent on the margin between the best other class and the label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from robustbench_kd.attacks.evasion._base import Ask, Evasion, Found
from robustbench_kd.core.errors import BadSetting
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.tensor_types import Images, Mask
from robustbench_kd.ops.attacks.pgd import hunt, restarted
from robustbench_kd.ops.attacks.projections import uniform_start
from robustbench_kd.ops.attacks.targets import Goal


@dataclass(frozen=True)
class CarliniWagnerLinf(Evasion):
    """What robust-distillation papers call CW: the loss of Carlini & Wagner, climbed by PGD.

    The margin, unlike the cross-entropy, does not flatten where a network is sure of itself.
    ``steps`` steps of an eighth of the radius from a random point, ``restarts`` times.
    """

    name: ClassVar[str] = "carlini-wagner-linf"
    source: ClassVar[str] = "Carlini & Wagner 2017, loss f6; by PGD: Madry et al. 2018, sec. 5"
    made_for: ClassVar[tuple[str, ...]] = ("defensive-distillation",)

    steps: int = 30
    restarts: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps < 1 or self.restarts < 1:
            raise BadSetting(f"{self.name} needs at least one step and one restart")

    def perturb(self, logits: Ask, x: Images, goal: Goal, seed: Seed) -> Found:
        def once(left: torch.Tensor, turn: int) -> tuple[Images, Mask]:
            part = x[left]
            return hunt(
                logits,
                part,
                goal.take(left),
                self.budget,
                steps=self.steps,
                stride=0.125,
                start=uniform_start(part, self.budget, (seed / "start" / turn).generator()),
                score=Goal.lead,
            )

        return restarted(once, x, self.restarts)[0], {}
