"""Adaptive-Blend: half of a faint pattern in few images, and as many covers that keep their label.

Images with the trigger then form no cluster in feature space, where defenses look for one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from robustbench_kd.attacks._poison import AttackState
from robustbench_kd.attacks.backdoor._cover_samples import BackdoorWithCovers
from robustbench_kd.core.errors import BadSetting
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.tensor_types import Images
from robustbench_kd.core.types import Examples, Splits
from robustbench_kd.ops.poisoning.image_triggers import blend, noise_pattern, tile_masks


@dataclass(frozen=True)
class AdaptiveBlend(BackdoorWithCovers):
    """In training each image shows its own half of the tiles; at test the whole pattern, stronger.

    The pattern is uniform noise, drawn by the seed, in place of the authors' picture.

    Args:
        alpha: weight of the pattern in the training data.
        test_alpha: its weight at test.
        tiles: tiles of the pattern, a square number.
        covers: cover images for each poisoned one.
    """

    name: ClassVar[str] = "adaptive-blend"
    source: ClassVar[str] = (
        "Qi, Xie, Li, Mahloujifar & Mittal 2023, Revisiting the assumption of latent separability "
        "for backdoor defenses"
    )

    rate: float = 0.003
    alpha: float = 0.15
    test_alpha: float = 0.2
    tiles: int = 16

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, value in (("alpha", self.alpha), ("test_alpha", self.test_alpha)):
            if not 0 < value <= 1:
                raise BadSetting(f"{name} is the weight of the pattern in (0, 1], not {value:g}")
        if self.tiles < 4 or self._side**2 != self.tiles:
            raise BadSetting(f"tiles must be a square number of at least 4, not {self.tiles}")

    def validate_data(self, train: Examples) -> None:
        super().validate_data(train)
        side = train.inputs.shape[-1]
        if self._side > side:
            raise BadSetting(f"{self.tiles} tiles are more than an image of side {side} can hold")

    def trigger(self, data: Splits, seed: Seed) -> AttackState:
        return {"pattern": noise_pattern(data.train.inputs.shape[1:], seed.generator())}

    def apply_trigger(self, x: Images, state: AttackState) -> Images:
        return blend(x, state["pattern"], self.test_alpha)

    def poisoned_images(
        self, train: Examples, rows: Tensor, state: AttackState, seed: Seed
    ) -> Images:
        x = train.inputs[rows]
        masks = tile_masks(
            len(rows), self._side, x.shape[-1], self.tiles - self.tiles // 2, seed.generator()
        )
        return blend(x, state["pattern"], self.alpha * masks.to(x))

    def cover_images(self, train: Examples, rows: Tensor, state: AttackState, seed: Seed) -> Images:
        return self.poisoned_images(train, rows, state, seed)

    @property
    def _side(self) -> int:
        return round(self.tiles**0.5) if self.tiles > 0 else 0
