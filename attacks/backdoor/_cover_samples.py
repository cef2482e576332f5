"""Backdoors with cover images: much like the poisoned ones, but under their own label."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from robustbench_kd.attacks._poison import COVER_IDS, POISON_IDS, AttackState
from robustbench_kd.attacks.backdoor._base import Backdoor
from robustbench_kd.core.errors import BadSetting
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.tensor_types import Images
from robustbench_kd.core.types import Examples, PoisonedData, Splits


@dataclass(frozen=True)
class BackdoorWithCovers(Backdoor):
    """Replaces further images by covers, which keep their label; the state holds their ids.

    Args:
        covers: cover images for each poisoned one.
    """

    covers: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.covers >= 0:
            raise BadSetting(
                f"covers for each poisoned image must be at least 0, not {self.covers:g}"
            )

    def validate_data(self, train: Examples) -> None:
        super().validate_data(train)
        both = self.count(train) + self._cover_count(train)
        if both > len(train):
            raise BadSetting(
                f"{both} poisoned images and covers do not fit into {len(train)} images; with "
                f"covers={self.covers:g} the rate can be at most {1 / (1 + self.covers):.2g}"
            )

    def poison(self, data: Splits, seed: Seed) -> PoisonedData[AttackState]:
        """The poisoned data, with some of the images that are left replaced by covers."""
        poisoned = super().poison(data, seed)
        train, state = poisoned.data.train, poisoned.attack_state
        clean_rows = (~torch.isin(train.ids, state[POISON_IDS])).nonzero().squeeze(1)
        order = torch.randperm(len(clean_rows), generator=(seed / "covers").generator())
        rows = clean_rows[order[: self._cover_count(train)]]
        inputs = train.inputs.clone()
        inputs[rows] = self.cover_images(data.train, rows, state, seed / "cover").clamp(0, 1)
        return PoisonedData(
            replace(data, train=Examples(train.ids, inputs, train.targets)),
            {**state, COVER_IDS: train.ids[rows]},
        )

    @abstractmethod
    def cover_images(self, train: Examples, rows: Tensor, state: AttackState, seed: Seed) -> Images:
        """What replaces these rows of the training data, under the label that they have."""

    def _cover_count(self, train: Examples) -> int:
        return round(self.covers * self.count(train))
