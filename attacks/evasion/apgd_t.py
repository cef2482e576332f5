"""Auto-PGD towards one class after another, on a ratio of scores that no scaling can flatten."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from robustbench_kd.attacks.evasion._base import Evasion, Perturbed
from robustbench_kd.core.errors import BadSetting
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.tensor_types import Images
from robustbench_kd.ops.attacks.autoattack import apgd_targeted, targets_by_score
from robustbench_kd.ops.attacks.pgd import LogitFunction
from robustbench_kd.ops.attacks.targets import Goal


@dataclass(frozen=True)
class APGDT(Evasion):
    """``steps`` steps towards each of the ``n_targets`` other classes of the highest scores.

    Any misclassification is a success; in the targeted form only the given class is tried. Where
    the network has fewer other classes, all of them are tried.
    """

    name: ClassVar[str] = "apgd-t"
    source: ClassVar[str] = "Croce & Hein 2020, Reliable evaluation, eq. 7 and section 5"

    steps: int = 100
    n_targets: int = 9

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps < 1 or self.n_targets < 1:
            raise BadSetting(f"{self.name} needs at least one step and one target")

    def perturb(self, logits: LogitFunction, x: Images, goal: Goal, seed: Seed) -> Perturbed:
        order = targets_by_score(logits, x, goal, self.n_targets)
        z, _ = apgd_targeted(
            logits, x, goal, order, self.budget, steps=self.steps, seed=seed / "start"
        )
        return z, {}
