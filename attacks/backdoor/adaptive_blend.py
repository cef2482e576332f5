"""Adaptive-Blend: half of a faint pattern in few images, and as many covers that keep their label.

Stamped images then do not lie together in feature space, where defenses look for them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from robustbench_kd.attacks.backdoor._base import Secret
from robustbench_kd.attacks.backdoor._cover_samples import CoveredBackdoor
from robustbench_kd.core.errors import BadSetting
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.tensor_types import Images
from robustbench_kd.core.types import Examples, Splits
from robustbench_kd.ops.poisoning.image_triggers import blended, kept_tiles, noise_pattern


@dataclass(frozen=True)
class AdaptiveBlend(CoveredBackdoor):
    """In training each image shows its own half of the tiles; at test the whole pattern, stronger.

    The pattern is uniform noise, drawn by the seed, in place of the authors' picture.

    Args:
        alpha: weight of the pattern in the training data.
        test_alpha: its weight at test.
        tiles: tiles of the pattern, a square number.
        covers: cover images for each planted one.
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

    def fits(self, train: Examples) -> None:
        super().fits(train)
        side = train.inputs.shape[-1]
        if self._side > side:
            raise BadSetting(f"{self.tiles} tiles are more than an image of side {side} can hold")

    def trigger(self, data: Splits, seed: Seed) -> Secret:
        return {"pattern": noise_pattern(data.train.inputs.shape[1:], seed.generator())}

    def stamp(self, x: Images, secret: Secret) -> Images:
        return blended(x, secret["pattern"], self.test_alpha)

    def plant(self, train: Examples, rows: Tensor, secret: Secret, seed: Seed) -> Images:
        x = train.inputs[rows]
        shown = kept_tiles(
            len(rows), self._side, x.shape[-1], self.tiles - self.tiles // 2, seed.generator()
        )
        return blended(x, secret["pattern"], self.alpha * shown.to(x))

    def cover(self, train: Examples, rows: Tensor, secret: Secret, seed: Seed) -> Images:
        return self.plant(train, rows, secret, seed)

    @property
    def _side(self) -> int:
        return round(self.tiles**0.5) if self.tiles > 0 else 0
