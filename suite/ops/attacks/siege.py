"""Several attacks in turn, each on the rows that are left, and who broke which."""

from __future__ import annotations

from collections.abc import Callable

import torch

from robustbench_kd.core.tensor_types import Images, Mask
from robustbench_kd.ops.attacks.targets import Goal

# Takes the clean inputs, the goal, and the last inputs of the strike before; returns its own.
Strike = Callable[[Images, Goal, Images], tuple[Images, Mask]]


class Siege:
    """``found`` holds an input for every row, ``stage`` the number of who broke it, -1 for nobody.

    Where nobody broke a row, ``found`` is where the last strike left it.
    """

    def __init__(self, x: Images, goal: Goal) -> None:
        self.x, self.goal, self.found = x, goal, x.clone()
        self.stage = torch.full((len(x),), -1, dtype=torch.int64, device=x.device)

    @property
    def standing(self) -> int:
        """How many rows nobody has broken so far."""
        return int((self.stage < 0).sum())

    def strike(self, stage: int, strike: Strike) -> int:
        """Strikes at the rows that are left; returns how many fell."""
        left = (self.stage < 0).nonzero().squeeze(1)
        if len(left) == 0:
            return 0
        z, won = strike(self.x[left], self.goal.take(left), self.found[left])
        self.found[left] = z.detach()
        self.stage[left[won]] = stage
        return int(won.sum())
