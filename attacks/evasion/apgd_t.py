"""Auto-PGD towards one class after another, on a ratio of scores that no scaling can flatten."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from robustbench_kd.attacks.evasion._base import Ask, Evasion, Found
from robustbench_kd.core.errors import BadSetting
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.tensor_types import Images
from robustbench_kd.ops.attacks.autoattack import by_score, one_by_one
from robustbench_kd.ops.attacks.targets import Goal


@dataclass(frozen=True)
class APGDT(Evasion):
    """``steps`` steps towards each of the ``n_targets`` other classes of the highest scores.

    Any wrong answer is a win; in the targeted form only the given class is tried, and wins. Where
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

    def perturb(self, logits: Ask, x: Images, goal: Goal, seed: Seed) -> Found:
        order = by_score(logits, x, goal, self.n_targets)
        z, _ = one_by_one(
            logits, x, goal, order, self.budget, steps=self.steps, seed=seed / "start"
        )
        return z, {}
