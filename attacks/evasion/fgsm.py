"""One step of the largest size along the sign of the gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from robustbench_kd.attacks.evasion._base import Evasion, Perturbed
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.tensor_types import Images
from robustbench_kd.ops.attacks.pgd import LogitFunction, pgd
from robustbench_kd.ops.attacks.targets import Goal


@dataclass(frozen=True)
class FGSM(Evasion):
    """The fast gradient sign method, from the input itself; for L2 the gradient is normalised."""

    name: ClassVar[str] = "fgsm"
    source: ClassVar[str] = "Goodfellow, Shlens & Szegedy 2015, Explaining and harnessing, sec. 4"

    def perturb(self, logits: LogitFunction, x: Images, goal: Goal, seed: Seed) -> Perturbed:
        z, _ = pgd(logits, x, goal, self.budget, steps=1, stride=1.0, start=x)
        return z, {}
