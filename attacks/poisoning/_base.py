"""Poisoning: training data changed so that plain test images are misclassified. What all share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar

import torch

from robustbench_kd.attacks._poison import (
    POISON_IDS,
    TARGET_CLASS,
    TARGET_ID,
    AttackState,
    check_class,
    check_poisoning,
    class_count,
    draw_rows,
    poison_count,
)
from robustbench_kd.core.config import Budget, Capability, ThreatModel
from robustbench_kd.core.errors import BadSetting
from robustbench_kd.core.protocols import TargetModel
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.submissions import AdversarialInputs
from robustbench_kd.core.tensor_types import Images
from robustbench_kd.core.types import Examples, PoisonedData, Splits
from robustbench_kd.ops.attacks.projections import project


@dataclass(frozen=True)
class PoisoningAttack(ABC):
    """Changes ``rate`` of the training images or labels, and submits the test images as they are.

    Args:
        rate: poisoned share of the whole training set.
        capability: whose training data are poisoned; a leaderboard decides it.
    """

    name: ClassVar[str] = ""
    source: ClassVar[str] = ""
    requires: ClassVar[type] = TargetModel

    rate: float = 0.1
    capability: Capability = "student_train_data"

    def __post_init__(self) -> None:
        check_poisoning(self.name, self.rate, self.capability)

    @property
    @abstractmethod
    def threat(self) -> ThreatModel:
        """The goal, and whose training data are poisoned."""

    @abstractmethod
    def validate_data(self, train: Examples) -> None:
        """Refuses settings that these data do not allow, before anything is spent."""

    @abstractmethod
    def poison(self, data: Splits, seed: Seed) -> PoisonedData[AttackState]:
        """The poisoned training data; the state holds the ids of the poison."""

    @abstractmethod
    def attack(
        self, model: TargetModel, data: Splits, state: AttackState, seed: Seed
    ) -> AdversarialInputs:
        """Every test image as it is, with the answers that the adversary wants."""


@dataclass(frozen=True)
class TargetedPoisoning(PoisoningAttack):
    """Perturbs training images of one class, so that one test image is assigned that class.

    Labels are kept. The seed alone draws the test image and the poisoned ones, whatever the method,
    so under one seed two methods of the same ``rate`` are a pair. A trial is one seed, and one bit:
    a success rate needs many. A new attack derives from this and writes ``craft``.

    Args:
        eps: how far a poisoned pixel may move, in units of [0, 1].
        target: the class that the test image is to be assigned; another than its own is drawn
            unless one is given.
    """

    rate: float = 0.01
    eps: float = 16 / 255
    target: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.eps <= 1:
            raise BadSetting(f"eps is a distance of pixels in (0, 1], not {self.eps:g}")

    @property
    def threat(self) -> ThreatModel:
        return ThreatModel("targeted_poisoning", self.capability, "decision_based")

    @property
    def budget(self) -> Budget:
        """The ball that each poisoned training image stays in."""
        return Budget("linf", self.eps)

    def validate_data(self, train: Examples) -> None:
        """Refuses settings that these data do not allow, before anything is spent.

        Raises:
            BadSetting: where no image would be poisoned, the target is no class, or the rate asks
                for more images than that class has.
        """
        if self.target is not None:
            check_class(self.target, train)
        poison_count(self.name, self.rate, train, self.target)

    def poison(self, data: Splits, seed: Seed) -> PoisonedData[AttackState]:
        """The training data with ``rate`` of the images, all of the target class, perturbed.

        The state holds the ids of the poison, the id of the test image, and the target class.

        Raises:
            BadSetting: as ``validate_data``; also where a drawn target class has too few images.
        """
        train = data.train
        self.validate_data(train)
        target = self.target_example(data, seed)
        only = int(target.targets)
        count = poison_count(self.name, self.rate, train, only)
        rows = draw_rows(count, train, only, seed / "rows")
        bases = train.take(rows)
        inputs = train.inputs.clone()
        inputs[rows] = project(self.craft(train, bases, target, seed), bases.inputs, self.budget)
        return PoisonedData(
            replace(data, train=Examples(train.ids, inputs, train.targets)),
            {POISON_IDS: bases.ids, TARGET_ID: target.ids, TARGET_CLASS: target.targets},
        )

    def attack(
        self, model: TargetModel, data: Splits, state: AttackState, seed: Seed
    ) -> AdversarialInputs:
        """Every test image as it is; only the targeted one has a target other than its label."""
        test = data.test
        targets = torch.where(test.ids == state[TARGET_ID], state[TARGET_CLASS], test.targets)
        return AdversarialInputs(test.ids, test.inputs, targets)

    @abstractmethod
    def craft(self, train: Examples, bases: Examples, target: Examples, seed: Seed) -> Images:
        """The poisoned images, in the order of ``bases``; they are projected into the ball later.

        ``target`` is the test image, with the class that it is to be assigned.
        """

    def target_example(self, data: Splits, seed: Seed) -> Examples:
        """A drawn test image, labelled with another class than its own.

        Raises:
            BadSetting: where no test image has another class than the target.
        """
        classes, test = class_count(data.train), data.test
        rows = torch.arange(len(test))
        if self.target is not None:
            rows = rows[test.targets != self.target]
        if classes < 2 or len(rows) == 0:
            raise BadSetting(f"{self.name} needs a test image of another class than the target")
        place = torch.randint(len(rows), (1,), generator=(seed / "victim").generator())
        image = test.take(rows[place])
        step = torch.randint(1, classes, (1,), generator=(seed / "wanted").generator())
        label = (image.targets + step) % classes
        if self.target is not None:
            label = torch.full_like(image.targets, self.target)
        return Examples(image.ids, image.inputs, label)
