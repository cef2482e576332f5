"""Minimal steps to the boundary with each of the likeliest other classes, in their order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from robustbench_kd.attacks.evasion._base import Ask, Evasion, Found
from robustbench_kd.core.errors import BadSetting
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.tensor_types import Images, Mask
from robustbench_kd.ops.attacks.fab import fab_targeted
from robustbench_kd.ops.attacks.pgd import restarted
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

    def perturb(self, logits: Ask, x: Images, goal: Goal, seed: Seed) -> Found:
        aims = self._aims(logits, x, goal)

        def once(left: torch.Tensor, turn: int) -> tuple[Images, Mask]:
            restart, aim = divmod(turn, aims.shape[1])
            return fab_targeted(
                logits,
                x[left],
                goal.labels[left],
                aims[left, aim],
                self.budget,
                steps=self.steps,
                seed=seed / aim,
                restart=restart,
                only_target=goal.targets is not None,
            )

        return restarted(once, x, self.restarts * aims.shape[1])[0], {}

    def _aims(self, logits: Ask, x: Images, goal: Goal) -> torch.Tensor:
        """The classes to go for, the likeliest first: (rows, targets)."""
        if goal.targets is not None:
            return goal.targets[:, None]
        with torch.no_grad():
            others = logits(x).scatter(1, goal.labels[:, None], -torch.inf)
        return others.argsort(1, descending=True)[:, : min(self.targets, others.shape[1] - 1)]
