"""Square Attack: random search in square windows, which no masked gradient can mislead."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from robustbench_kd.attacks.evasion._base import Ask, Evasion, Found
from robustbench_kd.core.errors import BadSetting
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.tensor_types import Images, Mask
from robustbench_kd.ops.attacks.pgd import restarted
from robustbench_kd.ops.attacks.square import square
from robustbench_kd.ops.attacks.targets import Goal


@dataclass(frozen=True)
class Square(Evasion):
    """``queries`` questions an image, ``restarts`` times; notes how many each image took."""

    name: ClassVar[str] = "square"
    source: ClassVar[str] = "Andriushchenko et al. 2020, Square Attack, algorithms 1 to 3"
    sight: ClassVar[Literal["weights", "scores", "answers"]] = "scores"

    queries: int = 5000
    restarts: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.queries < 1 or self.restarts < 1:
            raise BadSetting(f"{self.name} needs at least one query and one restart")

    def perturb(self, logits: Ask, x: Images, goal: Goal, seed: Seed) -> Found:
        spent = torch.zeros(len(x), dtype=torch.int64, device=x.device)

        def once(left: Tensor, turn: int) -> tuple[Images, Mask]:
            z, won, asked = square(
                logits,
                x[left],
                goal.take(left),
                self.budget,
                queries=self.queries,
                seed=seed / "windows" / turn,
            )
            spent[left] += asked
            return z, won

        return restarted(once, x, self.restarts)[0], {"queries": spent}
