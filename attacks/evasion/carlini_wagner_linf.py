"""Projected gradient ascent on the margin between the best other class and the label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from robustbench_kd.attacks.evasion._base import Evasion, Perturbed
from robustbench_kd.core.errors import BadSetting
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.tensor_types import Images, Mask
from robustbench_kd.ops.attacks.pgd import LogitFunction, pgd, with_restarts
from robustbench_kd.ops.attacks.projections import uniform_start
from robustbench_kd.ops.attacks.targets import Goal


@dataclass(frozen=True)
class CarliniWagnerLinf(Evasion):
    """What robust-distillation papers call CW: the loss of Carlini & Wagner, maximised by PGD.

    The margin, unlike the cross-entropy, does not saturate where a network is confident.
    ``steps`` steps of an eighth of the radius from a random point, ``restarts`` times.
    """

    name: ClassVar[str] = "carlini-wagner-linf"
    source: ClassVar[str] = "Carlini & Wagner 2017, loss f6; by PGD: Madry et al. 2018, sec. 5"
    adaptive_against: ClassVar[tuple[str, ...]] = ("defensive-distillation",)

    steps: int = 30
    restarts: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps < 1 or self.restarts < 1:
            raise BadSetting(f"{self.name} needs at least one step and one restart")

    def perturb(self, logits: LogitFunction, x: Images, goal: Goal, seed: Seed) -> Perturbed:
        def attempt(rows: Tensor, restart: int) -> tuple[Images, Mask]:
            part = x[rows]
            return pgd(
                logits,
                part,
                goal.take(rows),
                self.budget,
                steps=self.steps,
                stride=0.125,
                start=uniform_start(part, self.budget, (seed / "start" / restart).generator()),
                score=Goal.margin,
            )

        return with_restarts(attempt, x, self.restarts)[0], {}
