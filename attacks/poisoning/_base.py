"""Poisoning: training data changed so that a plain test image is mistaken. What all share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from robustbench_kd.core.config import Budget, Door
from robustbench_kd.core.errors import BadSetting
from robustbench_kd.core.protocols import Subject
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.tensor_types import Images
from robustbench_kd.core.types import Examples, Splits, Submission, Tainted, Threat
from robustbench_kd.ops.attacks.projections import project

Secret = Mapping[str, Tensor]


@dataclass(frozen=True)
class Poisoning(ABC):
    """Changes ``rate`` of the training images or labels; afterwards test images go in as they are.

    Args:
        rate: planted share of the whole training set.
        door: whose data the poison enters; a board decides it.
    """

    name: ClassVar[str] = ""
    source: ClassVar[str] = ""
    meets: ClassVar[type] = Subject

    rate: float = 0.1
    door: Door = "student data"

    def __post_init__(self) -> None:
        if not 0 < self.rate <= 1:
            raise BadSetting(f"rate is a share of the training set in (0, 1], not {self.rate:g}")

    @property
    @abstractmethod
    def threat(self) -> Threat:
        """What it wants, and through which door."""

    @abstractmethod
    def before(self, data: Splits, seed: Seed) -> Tainted[Secret]:
        """The training data with the poison in them; the secret holds the ids ``planted``."""

    @abstractmethod
    def after(self, subject: Subject, data: Splits, secret: Secret, seed: Seed) -> Submission:
        """Every test image as it is."""

    def drawn(self, train: Examples, of: int | None, seed: Seed) -> Tensor:
        """The rows to poison: exactly ``rate`` of the whole set, of one class if one is given.

        Raises:
            BadSetting: where that is no image, or more than the class has.
        """
        rows = torch.arange(len(train)) if of is None else (train.targets == of).nonzero()[:, 0]
        count = round(self.rate * len(train))
        if count < 1:
            lowest = f"; the lowest that plants one is {1 / len(train):.2g}" if len(train) else ""
            raise BadSetting(f"a rate of {self.rate:g} plants none of {len(train)} images{lowest}")
        if count > len(rows):
            raise BadSetting(
                f"{self.name} poisons images of class {of} only, and there are {len(rows)}: the "
                f"rate can be at most {len(rows) / len(train):.2g}, not {self.rate:g}"
            )
        return rows[torch.randperm(len(rows), generator=seed.generator())[:count]]


@dataclass(frozen=True)
class Targeted(Poisoning):
    """Moves training images of one class a little, so that one test image is taken for that class.

    Labels are kept. The seed alone draws the victim and the images, whatever the method, so under
    one seed two methods of the same ``rate`` are a pair. A trial is one seed, and one bit: a share
    needs many. A new attack derives from this and writes ``craft``.

    Args:
        eps: how far a poisoned pixel may move, in units of [0, 1].
        target: the class that the victim is to be taken for; another than its own is drawn unless
            one is given.
    """

    rate: float = 0.01
    eps: float = 16 / 255
    target: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.eps <= 1:
            raise BadSetting(f"eps is a distance of pixels in (0, 1], not {self.eps:g}")

    @property
    def threat(self) -> Threat:
        return Threat("implant", self.door, "answers")

    @property
    def budget(self) -> Budget:
        """The ball that each poisoned training image stays in."""
        return Budget("linf", self.eps)

    def before(self, data: Splits, seed: Seed) -> Tainted[Secret]:
        """The training data with ``rate`` of them, all of the wanted class, perturbed.

        The secret: the ids ``planted``, the id of the ``victim``, and the class ``wanted``.

        Raises:
            BadSetting: where no image would be planted, the target is no class, or the rate asks
                for more images than that class has; before anything is trained.
        """
        train = data.train
        aim = self.aim(data, seed)
        rows = self.drawn(train, int(aim.targets), seed / "rows")
        bases = train.take(rows)
        inputs = train.inputs.clone()
        inputs[rows] = project(self.craft(train, bases, aim, seed), bases.inputs, self.budget)
        planted = Examples(train.ids, inputs, train.targets)
        secret = {"planted": bases.ids, "victim": aim.ids, "wanted": aim.targets}
        return Tainted(Splits(planted, data.validation, data.test, data.reserve), secret)

    def after(self, subject: Subject, data: Splits, secret: Secret, seed: Seed) -> Submission:
        """Every test image as it is; of the victim alone, another class than its own is wanted."""
        test = data.test
        wanted = torch.where(test.ids == secret["victim"], secret["wanted"], test.targets)
        return Submission(test.ids, test.inputs, wanted)

    @abstractmethod
    def craft(self, train: Examples, bases: Examples, aim: Examples, seed: Seed) -> Images:
        """The poisoned images, in the order of ``bases``; they are drawn into the ball afterwards.

        ``aim`` is the victim, with the class that it is to be taken for.
        """

    def aim(self, data: Splits, seed: Seed) -> Examples:
        """A test image, labelled with another class than its own."""
        classes = int(data.train.targets.max()) + 1 if len(data.train) else 0
        if self.target is not None and not 0 <= self.target < classes:
            raise BadSetting(f"there is no class {self.target}; the last one is {classes - 1}")
        test = data.test
        others = torch.arange(len(test))
        if self.target is not None:
            others = others[test.targets != self.target]
        if classes < 2 or len(others) == 0:
            raise BadSetting(f"{self.name} needs a test image of another class than the wanted one")
        place = torch.randint(len(others), (1,), generator=(seed / "victim").generator())
        victim = test.take(others[place])
        step = torch.randint(1, classes, (1,), generator=(seed / "wanted").generator())
        wanted = (victim.targets + step) % classes
        if self.target is not None:
            wanted = torch.full_like(victim.targets, self.target)
        return Examples(victim.ids, victim.inputs, wanted)
