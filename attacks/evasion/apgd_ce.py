"""Auto-PGD on the cross-entropy: step sizes that no one has to choose."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from robustbench_kd.attacks.evasion._base import Ask, Evasion, Found
from robustbench_kd.core.errors import BadSetting
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.tensor_types import Images, Mask
from robustbench_kd.ops.attacks.apgd import apgd
from robustbench_kd.ops.attacks.pgd import restarted
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

    def perturb(self, logits: Ask, x: Images, goal: Goal, seed: Seed) -> Found:
        def once(left: Tensor, turn: int) -> tuple[Images, Mask]:
            part = x[left]
            start = uniform_start(part, self.budget, (seed / "start" / turn).generator())
            aim = goal.take(left)
            return apgd(logits, part, aim, self.budget, steps=self.steps, start=start)

        return restarted(once, x, self.restarts)[0], {}
