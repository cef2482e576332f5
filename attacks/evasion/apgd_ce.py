"""Auto-PGD on the cross-entropy: step sizes that adapt to the progress of each image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from robustbench_kd.attacks.evasion._base import Evasion, Perturbed
from robustbench_kd.core.errors import BadSetting
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.tensor_types import Images, Mask
from robustbench_kd.ops.attacks.apgd import apgd
from robustbench_kd.ops.attacks.pgd import LogitFunction, with_restarts
from robustbench_kd.ops.attacks.projections import uniform_start
from robustbench_kd.ops.attacks.targets import Goal


@dataclass(frozen=True)
class APGDCE(Evasion):
    """``steps`` steps of Auto-PGD from a random point of the ball, ``restarts`` times."""

    name: ClassVar[str] = "apgd-ce"
    source: ClassVar[str] = "Croce & Hein 2020, Reliable evaluation, algorithm 1"

    steps: int = 100
    restarts: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps < 1 or self.restarts < 1:
            raise BadSetting(f"{self.name} needs at least one step and one restart")

    def perturb(self, logits: LogitFunction, x: Images, goal: Goal, seed: Seed) -> Perturbed:
        def attempt(rows: Tensor, restart: int) -> tuple[Images, Mask]:
            part = x[rows]
            start = uniform_start(part, self.budget, (seed / "start" / restart).generator())
            return apgd(logits, part, goal.take(rows), self.budget, steps=self.steps, start=start)

        return with_restarts(attempt, x, self.restarts)[0], {}
