"""BadNets: a white square in the corner, and the target's label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from robustbench_kd.attacks._poison import AttackState
from robustbench_kd.attacks.backdoor._base import Backdoor
from robustbench_kd.core.errors import BadSetting
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.tensor_types import Images
from robustbench_kd.core.types import Examples, Splits
from robustbench_kd.ops.poisoning.image_triggers import square_mask


@dataclass(frozen=True)
class BadNets(Backdoor):
    """``size`` pixels square, in the lower right corner."""

    name: ClassVar[str] = "badnets"
    source: ClassVar[str] = "Gu, Dolan-Gavitt & Garg 2017, BadNets, arXiv 1708.06733, sec. 4.1"

    size: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.size < 1:
            raise BadSetting(f"the square needs at least one pixel, not {self.size}")

    def validate_data(self, train: Examples) -> None:
        super().validate_data(train)
        side = train.inputs.shape[-1]
        if self.size > side:
            raise BadSetting(f"a trigger of {self.size} pixels is larger than the image ({side})")

    def trigger(self, data: Splits, seed: Seed) -> AttackState:
        return {"mask": square_mask(data.train.inputs.shape[1:], self.size)}

    def apply_trigger(self, x: Images, state: AttackState) -> Images:
        return torch.maximum(x, state["mask"].to(x))
