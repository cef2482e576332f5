"""Projected gradient ascent on the cross-entropy, from random points of the ball."""

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
class PGD(Evasion):
    """``steps`` steps of length ``step`` (``eps`` / 8 unless given), ``restarts`` times."""

    name: ClassVar[str] = "pgd"
    source: ClassVar[str] = "Madry et al. 2018, Towards deep learning models resistant, eq. 3"

    steps: int = 20
    step: float | None = None
    restarts: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps < 1 or self.restarts < 1:
            raise BadSetting(f"{self.name} needs at least one step and one restart")
        if self.step is not None and not 0 < self.step <= self.eps:
            raise BadSetting(
                f"a step must be above 0 and at most eps ({self.eps:g}), not {self.step:g}"
            )

    def perturb(self, logits: LogitFunction, x: Images, goal: Goal, seed: Seed) -> Perturbed:
        stride = 0.125 if self.step is None else self.step / self.eps

        def attempt(rows: Tensor, restart: int) -> tuple[Images, Mask]:
            part = x[rows]
            return pgd(
                logits,
                part,
                goal.take(rows),
                self.budget,
                steps=self.steps,
                stride=stride,
                start=uniform_start(part, self.budget, (seed / "start" / restart).generator()),
            )

        return with_restarts(attempt, x, self.restarts)[0], {}
