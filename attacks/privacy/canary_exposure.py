"""Canaries: secrets inserted a known number of times, and how well each is memorised."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from robustbench_kd.attacks._poison import POISON_IDS
from robustbench_kd.core.config import Capability, ThreatModel
from robustbench_kd.core.errors import BadSetting, MissingData
from robustbench_kd.core.protocols import TargetModel
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.submissions import RankQueries
from robustbench_kd.core.types import Examples, PoisonedData, Splits


@dataclass(frozen=True)
class CanaryExposure:
    """Inserts the scenario's canaries in the training data; for images, mislabelled images.

    A language model's rank of each secret among all candidates is exact, or sampled where there are
    too many; any other model's is that of its loss among canaries that were never inserted.

    Args:
        repetitions: copies of a canary, as ``0+1+4``; canaries take turns. 0 is the control.
        per_level: canaries for each number of repetitions; further ones are never inserted.
    """

    name: ClassVar[str] = "canary-exposure"
    source: ClassVar[str] = "Carlini et al. 2019, The secret sharer, sec. 4"
    requires: ClassVar[type] = TargetModel

    repetitions: str = "0+1+2+4+8+16+32+128"
    per_level: int = 9
    capability: Capability = "shared_train_data"

    def __post_init__(self) -> None:
        if len(self.levels) < 2 or 0 not in self.levels or self.per_level < 1:
            raise BadSetting(
                f"{self.name} needs 0 repetitions and at least one other number, and a canary of "
                f"each, not repetitions={self.repetitions},per_level={self.per_level}"
            )

    @property
    def levels(self) -> list[int]:
        """The repetitions as numbers.

        Raises:
            BadSetting: where they are no whole numbers of at least 0, or repeat.
        """
        parts = self.repetitions.split("+")
        if not all(part.isdigit() for part in parts) or len(set(parts)) < len(parts):
            raise BadSetting(
                f"repetitions are different whole numbers such as 0+1+4, not {self.repetitions!r}"
            )
        return [int(part) for part in parts]

    @property
    def threat(self) -> ThreatModel:
        return ThreatModel("privacy", self.capability, "score_based")

    def poison(self, data: Splits, seed: Seed) -> PoisonedData[Mapping[str, Tensor]]:
        """The training set with all copies in it.

        Raises:
            MissingData: where the reserve is too small.
        """
        pool = _pool(data, seed)
        repetitions = self._repetitions(len(pool))
        copies = pool.take(torch.arange(len(pool)).repeat_interleave(repetitions))
        train = data.insert(data.train, copies, (seed / "weave").generator())
        return PoisonedData(
            replace(data, train=train),
            {"ids": pool.ids, "dose": repetitions, POISON_IDS: copies.ids},
        )

    def oracle_examples(self, data: Splits, seed: Seed) -> Examples:
        """The canaries that are inserted, once each."""
        pool = _pool(data, seed)
        return pool.take(self._repetitions(len(pool)) > 0)

    def _repetitions(self, size: int) -> Tensor:
        """How often each canary is inserted; no randomness, since secrets are random already."""
        count = self.per_level * len(self.levels)
        if count > size:
            raise MissingData(
                f"{self.name} needs {count} canaries, and this scenario has {size}; take fewer: "
                f"{self.name}:per_level={size // len(self.levels)}"
            )
        repetitions = torch.zeros(size, dtype=torch.int64)
        # Spread over the reserve, so that every format has canaries of every level.
        chosen = torch.arange(count) * size // count
        repetitions[chosen] = torch.tensor(self.levels).repeat(self.per_level)
        return repetitions

    def attack(
        self, model: TargetModel, data: Splits, state: Mapping[str, Tensor], seed: Seed
    ) -> RankQueries:
        """All canaries, inserted or not."""
        return RankQueries(_pool(data, seed).named(state["ids"]))


def _pool(data: Splits, seed: Seed) -> Examples:
    """The reserve, or every other validation example under a label that is not its own."""
    if data.reserve is not None:
        return data.reserve
    rest = data.validation.take(torch.arange(0, len(data.validation), 2))
    if len(rest) == 0:
        raise MissingData(
            "canaries of images are validation images, which come with the whole data set; see: "
            "robustbench-kd train --help"
        )
    classes = int(rest.targets.max()) + 1
    # The same for every seed: what is ranked afterwards must be what was inserted before.
    noise = (Seed() / "canary" / "label").generator()
    shift = torch.randint(1, classes, (len(rest),), generator=noise)
    return Examples(rest.ids, rest.inputs, (rest.targets + shift) % classes)
