"""Label flipping: wrong labels on images that stay as they are."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch

from robustbench_kd.attacks._poison import (
    POISON_IDS,
    AttackState,
    check_class,
    class_count,
    draw_rows,
    poison_count,
)
from robustbench_kd.attacks.poisoning._base import PoisoningAttack
from robustbench_kd.core.config import ThreatModel
from robustbench_kd.core.errors import BadSetting
from robustbench_kd.core.protocols import TargetModel
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.submissions import AdversarialInputs
from robustbench_kd.core.types import Examples, PoisonedData, Splits


@dataclass(frozen=True)
class LabelFlip(PoisoningAttack):
    """``symmetric``: to any other class; ``pair``: images of ``origin`` to ``target``, no others.

    A pair can flip no more than the class has, about 0.1 of ten even classes.
    """

    name: ClassVar[str] = "label-flip"
    source: ClassVar[str] = (
        "Han et al. 2018, Co-teaching: robust training with extremely noisy labels (both kinds)"
    )

    rate: float = 0.2
    kind: Literal["symmetric", "pair"] = "symmetric"
    origin: int = 0
    target: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kind == "pair" and self.origin == self.target:
            raise BadSetting(f"a pair is two classes, not {self.origin} twice: no label would flip")

    @property
    def threat(self) -> ThreatModel:
        return ThreatModel("availability_poisoning", self.capability, "decision_based")

    def validate_data(self, train: Examples) -> None:
        """Refuses settings that these data do not allow, before anything is spent.

        Raises:
            BadSetting: where no label would flip, a class does not exist, or a pair asks for more
                images than the class has.
        """
        if self.kind == "pair":
            check_class(self.origin, train)
            check_class(self.target, train)
        self._count(train)
        if class_count(train) < 2:
            raise BadSetting("a label needs another class to flip to, and there is one class only")

    def poison(self, data: Splits, seed: Seed) -> PoisonedData[AttackState]:
        """The training data with exactly ``rate`` of all labels flipped.

        Raises:
            BadSetting: as ``validate_data``.
        """
        train = data.train
        self.validate_data(train)
        rows = draw_rows(self._count(train), train, self._only, seed / "rows")
        targets = train.targets.clone()
        if self.kind == "pair":
            targets[rows] = self.target
        else:
            classes, noise = class_count(train), (seed / "labels").generator()
            step = torch.randint(1, classes, (len(rows),), generator=noise).to(targets)
            targets[rows] = (targets[rows] + step) % classes
        return PoisonedData(
            replace(data, train=Examples(train.ids, train.inputs, targets)),
            {POISON_IDS: train.ids[rows]},
        )

    def attack(
        self, model: TargetModel, data: Splits, state: AttackState, seed: Seed
    ) -> AdversarialInputs:
        """Every test image as it is; for a pair, the target of class ``origin`` is ``target``."""
        test, targets = data.test, None
        if self.kind == "pair":
            targets = torch.where(test.targets == self.origin, self.target, test.targets)
        return AdversarialInputs(test.ids, test.inputs, targets)

    def _count(self, train: Examples) -> int:
        return poison_count(self.name, self.rate, train, self._only)

    @property
    def _only(self) -> int | None:
        """The one class whose labels flip."""
        return self.origin if self.kind == "pair" else None
