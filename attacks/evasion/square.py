"""Square Attack: random search in square windows, which no masked gradient can mislead."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from robustbench_kd.attacks.evasion._base import Evasion, Perturbed
from robustbench_kd.core.config import Knowledge
from robustbench_kd.core.errors import BadSetting
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.tensor_types import Images, Mask
from robustbench_kd.ops.attacks.pgd import LogitFunction, with_restarts
from robustbench_kd.ops.attacks.square import square
from robustbench_kd.ops.attacks.targets import Goal


@dataclass(frozen=True)
class Square(Evasion):
    """At most ``queries`` queries an image, ``restarts`` times; metadata: how many it took."""

    name: ClassVar[str] = "square"
    source: ClassVar[str] = "Andriushchenko et al. 2020, Square Attack, algorithms 1 to 3"
    knowledge: ClassVar[Knowledge] = "score_based"

    queries: int = 5000
    restarts: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.queries < 1 or self.restarts < 1:
            raise BadSetting(f"{self.name} needs at least one query and one restart")

    def perturb(self, logits: LogitFunction, x: Images, goal: Goal, seed: Seed) -> Perturbed:
        queries = torch.zeros(len(x), dtype=torch.int64, device=x.device)

        def attempt(rows: Tensor, restart: int) -> tuple[Images, Mask]:
            z, success, count = square(
                logits,
                x[rows],
                goal.take(rows),
                self.budget,
                queries=self.queries,
                seed=seed / "windows" / restart,
            )
            queries[rows] += count
            return z, success

        return with_restarts(attempt, x, self.restarts)[0], {"queries": queries}
