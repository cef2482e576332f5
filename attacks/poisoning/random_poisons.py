"""Poisons of random noise: the control of every targeted poisoning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from robustbench_kd.attacks.poisoning._surrogates import SurrogatePoisoning
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.tensor_types import Images
from robustbench_kd.core.types import Examples


@dataclass(frozen=True)
class RandomPoisons(SurrogatePoisoning):
    """The same target, the same images, the same budget; every pixel moves by ``eps`` either way.

    What a crafted poison achieves beyond this row is due to its crafting. Surrogates only choose
    the target here, where there is more than one candidate.
    """

    name: ClassVar[str] = "random-poisons"
    source: ClassVar[str] = "the control of targeted poisoning"

    def craft(self, train: Examples, bases: Examples, target: Examples, seed: Seed) -> Images:
        signs = torch.rand(bases.inputs.shape, generator=(seed / "signs").generator()) < 0.5
        return bases.inputs + self.eps * (1 - 2 * signs.to(bases.inputs))
