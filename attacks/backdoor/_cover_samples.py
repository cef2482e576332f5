"""Backdoors with cover images: stamped almost like the planted ones, but under their own label."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from robustbench_kd.attacks.backdoor._base import Backdoor, Secret
from robustbench_kd.core.errors import BadSetting
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.tensor_types import Images
from robustbench_kd.core.types import Examples, Splits, Tainted


@dataclass(frozen=True)
class CoveredBackdoor(Backdoor):
    """Replaces further images by covers, which keep their label; their ids are in the secret.

    Args:
        covers: cover images for each planted one.
    """

    clean_label: ClassVar[bool] = False

    covers: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.covers >= 0:
            raise BadSetting(f"covers for each planted image must be at least 0, not {self.covers}")

    def fits(self, train: Examples) -> None:
        super().fits(train)
        both = self.count(train) + self._covers(train)
        if both > len(train):
            raise BadSetting(
                f"{both} planted images and covers do not fit into {len(train)} images; at "
                f"{self.covers:g} covers each, the rate can be at most {1 / (1 + self.covers):.2g}"
            )

    def before(self, data: Splits, seed: Seed) -> Tainted[Secret]:
        """The planted data, with some of the images that are left replaced by covers."""
        tainted = super().before(data, seed)
        planted, secret = tainted.data.train, tainted.secret
        left = (~torch.isin(planted.ids, secret["planted"])).nonzero().squeeze(1)
        order = torch.randperm(len(left), generator=(seed / "covers").generator())
        rows = left[order[: self._covers(planted)]]
        inputs = planted.inputs.clone()
        inputs[rows] = self.cover(data.train, rows, secret, seed / "cover").clamp(0, 1)
        train = Examples(planted.ids, inputs, planted.targets)
        return Tainted(
            Splits(train, data.validation, data.test, data.reserve),
            {**secret, "covers": train.ids[rows]},
        )

    @abstractmethod
    def cover(self, train: Examples, rows: Tensor, secret: Secret, seed: Seed) -> Images:
        """What stands in the training data in place of these rows, under the label they have."""

    def _covers(self, train: Examples) -> int:
        return round(self.covers * self.count(train))
