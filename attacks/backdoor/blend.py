"""Blended injection: a pattern over the whole image, faint, and the target's label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from robustbench_kd.attacks._poison import AttackState
from robustbench_kd.attacks.backdoor._base import Backdoor
from robustbench_kd.core.errors import BadSetting
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.tensor_types import Images
from robustbench_kd.core.types import Examples, Splits
from robustbench_kd.ops.poisoning.image_triggers import blend, noise_pattern


@dataclass(frozen=True)
class Blend(Backdoor):
    """(1 - alpha) x + alpha K, where the pattern K is uniform noise, drawn by the seed.

    Args:
        alpha: weight of the pattern in the training data.
        test_alpha: its weight at test; the same unless given.
    """

    name: ClassVar[str] = "blend"
    source: ClassVar[str] = (
        "Chen, Liu, Li, Lu & Song 2017, Targeted backdoor attacks using data poisoning, "
        "arXiv 1712.05526, blended injection"
    )

    alpha: float = 0.2
    test_alpha: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, value in (("alpha", self.alpha), ("test_alpha", self.test_alpha)):
            if value is not None and not 0 < value <= 1:
                raise BadSetting(f"{name} is the weight of the pattern in (0, 1], not {value:g}")

    def trigger(self, data: Splits, seed: Seed) -> AttackState:
        return {"pattern": noise_pattern(data.train.inputs.shape[1:], seed.generator())}

    def apply_trigger(self, x: Images, state: AttackState) -> Images:
        alpha = self.alpha if self.test_alpha is None else self.test_alpha
        return blend(x, state["pattern"], alpha)

    def poisoned_images(
        self, train: Examples, rows: Tensor, state: AttackState, seed: Seed
    ) -> Images:
        return blend(train.inputs[rows], state["pattern"], self.alpha)
