"""Minimal steps to the boundary with each of the likeliest other classes, in their order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from robustbench_kd.attacks.evasion._base import Evasion, Perturbed
from robustbench_kd.core.errors import BadSetting
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.tensor_types import Images, Mask
from robustbench_kd.ops.attacks.autoattack import targets_by_score
from robustbench_kd.ops.attacks.fab import fab_targeted
from robustbench_kd.ops.attacks.pgd import LogitFunction, with_restarts
from robustbench_kd.ops.attacks.targets import Goal


@dataclass(frozen=True)
class FABT(Evasion):
    """The targeted fast adaptive boundary attack: ``targets`` classes, ``restarts`` times each."""

    name: ClassVar[str] = "fab-t"
    source: ClassVar[str] = "Croce & Hein 2020, Minimally distorted adversarial examples, alg. 1"

    steps: int = 100
    targets: int = 9
    restarts: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.steps, self.targets, self.restarts) < 1:
            raise BadSetting(f"{self.name} needs at least one step, one target and one restart")

    def perturb(self, logits: LogitFunction, x: Images, goal: Goal, seed: Seed) -> Perturbed:
        order = targets_by_score(logits, x, goal, self.targets)

        def attempt(rows: Tensor, turn: int) -> tuple[Images, Mask]:
            restart, place = divmod(turn, order.shape[1])
            return fab_targeted(
                logits,
                x[rows],
                goal.labels[rows],
                order[rows, place],
                self.budget,
                steps=self.steps,
                seed=seed / place,
                restart=restart,
                only_target=goal.targets is not None,
            )

        return with_restarts(attempt, x, self.restarts * order.shape[1])[0], {}
