"""Backdoors: a trigger on some training images, and later on the test images. What all share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor

from robustbench_kd.attacks._poison import (
    CLASS_COUNT,
    POISON_IDS,
    AttackState,
    check_class,
    check_poisoning,
    class_count,
    draw_rows,
    poison_count,
)
from robustbench_kd.core.config import Capability, ThreatModel
from robustbench_kd.core.errors import BadSetting
from robustbench_kd.core.protocols import TargetModel
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.submissions import AdversarialInputs
from robustbench_kd.core.tensor_types import Images, Labels
from robustbench_kd.core.types import Examples, PoisonedData, Splits


@dataclass(frozen=True)
class Backdoor(ABC):
    """Replaces training images by poisoned ones; then applies the trigger to the test images.

    A new backdoor derives from this, sets ``name`` and ``source``, and writes ``trigger`` (what is
    drawn or optimised once) and ``apply_trigger``. One that keeps labels sets ``clean_label``; one
    whose training images differ from its test images writes ``poisoned_images`` as well.

    Args:
        rate: poisoned share of the whole training set.
        target: the class that images with the trigger are to be assigned.
        mapping: ``all-to-one``, or ``all-to-all``: the class after an image's own.
        capability: whose training data are poisoned; a leaderboard decides it.
    """

    name: ClassVar[str] = ""
    source: ClassVar[str] = ""
    requires: ClassVar[type] = TargetModel
    clean_label: ClassVar[bool] = False

    rate: float = 0.1
    target: int = 0
    mapping: Literal["all-to-one", "all-to-all"] = "all-to-one"
    capability: Capability = "teacher_train_data"

    def __post_init__(self) -> None:
        check_poisoning(self.name, self.rate, self.capability)
        if self.mapping == "all-to-all" and self.clean_label:
            raise BadSetting(
                f"{self.name} keeps labels, so it has one target class only: mapping=all-to-one"
            )

    @property
    def threat(self) -> ThreatModel:
        return ThreatModel("backdoor", self.capability, "decision_based")

    def validate_data(self, train: Examples) -> None:
        """Refuses settings that these data do not allow, before anything is spent.

        Raises:
            BadSetting: where no image would be poisoned, the target is no class, or a clean-label
                rate asks for more images than the target class has.
        """
        check_class(self.target, train)
        self.count(train)

    def count(self, train: Examples) -> int:
        """How many images are poisoned.

        Raises:
            BadSetting: where that is none, or more than there are.
        """
        return poison_count(self.name, self.rate, train, self._only)

    def target_labels(self, y: Labels, classes: int) -> Labels:
        """The class that images of each class are to be assigned once they show the trigger."""
        if self.mapping == "all-to-one":
            return torch.full_like(y, self.target)
        return (y + 1) % classes

    def poison(self, data: Splits, seed: Seed) -> PoisonedData[AttackState]:
        """The training data with ``rate`` of the images replaced by poisoned ones.

        The state holds what ``trigger`` returned, the ids of the poison, and the number of classes.

        Raises:
            BadSetting: as ``validate_data``.
        """
        train = data.train
        self.validate_data(train)
        classes = class_count(train)
        state = self.trigger(data, seed / "trigger")
        rows = draw_rows(self.count(train), train, self._only, seed / "rows")
        inputs, targets = train.inputs.clone(), train.targets.clone()
        inputs[rows] = self.poisoned_images(train, rows, state, seed / "plant").clamp(0, 1)
        targets[rows] = self.target_labels(train.targets[rows], classes)
        state = {**state, POISON_IDS: train.ids[rows], CLASS_COUNT: torch.tensor(classes)}
        return PoisonedData(
            replace(data, train=Examples(train.ids, inputs, targets)),
            {name: value.contiguous() for name, value in state.items()},
        )

    def attack(
        self, model: TargetModel, data: Splits, state: AttackState, seed: Seed
    ) -> AdversarialInputs:
        """Every test image with the trigger; the model is not queried."""
        test = data.test
        triggered = self.apply_trigger(test.inputs, state).clamp(0, 1)
        targets = self.target_labels(test.targets, int(state[CLASS_COUNT]))
        return AdversarialInputs(test.ids, triggered, targets)

    @abstractmethod
    def trigger(self, data: Splits, seed: Seed) -> AttackState:
        """What the adversary draws or optimises once, as named tensors."""

    @abstractmethod
    def apply_trigger(self, x: Images, state: AttackState) -> Images:
        """The images with the trigger."""

    def poisoned_images(
        self, train: Examples, rows: Tensor, state: AttackState, seed: Seed
    ) -> Images:
        """What replaces these rows of the training data: the same images with the trigger."""
        return self.apply_trigger(train.inputs[rows], state)

    @property
    def _only(self) -> int | None:
        """The one class whose images are poisoned."""
        return self.target if self.clean_label else None


def at_least_one(**numbers: int) -> None:
    """Refuses a count below one.

    Raises:
        BadSetting: naming the first.
    """
    for name, number in numbers.items():
        if number < 1:
            raise BadSetting(f"{name} must be at least 1, not {number}")
