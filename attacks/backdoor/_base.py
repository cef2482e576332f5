"""Backdoors: a trigger stamped on training images, and later on test images. What all share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from robustbench_kd.core.config import Door
from robustbench_kd.core.errors import BadSetting
from robustbench_kd.core.protocols import Subject
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.tensor_types import Images, Labels
from robustbench_kd.core.types import Examples, Splits, Submission, Tainted, Threat

# What stamping takes, the ids of the images that were planted, and the number of classes. It is
# kept beside the networks that were trained on the planted data: small and contiguous tensors only.
Secret = Mapping[str, Tensor]


@dataclass(frozen=True)
class Planting:
    """Whose images are planted, and what they are to be taken for.

    Args:
        rate: planted share of the whole training set.
        target: the class that stamped images are to be taken for.
        mapping: ``all-to-one``, or ``all-to-all``: every class for the next one.
        door: whose data the poison enters; a board decides it.
    """

    name: ClassVar[str] = ""
    source: ClassVar[str] = ""
    meets: ClassVar[type] = Subject
    clean_label: ClassVar[bool] = False

    rate: float = 0.1
    target: int = 0
    mapping: Literal["all-to-one", "all-to-all"] = "all-to-one"
    door: Door = "teacher data"

    def __post_init__(self) -> None:
        if not 0 < self.rate <= 1:
            raise BadSetting(f"rate is a share of the training set in (0, 1], not {self.rate:g}")
        if self.mapping == "all-to-all" and self.clean_label:
            raise BadSetting(f"{self.name} keeps labels, so it knows one target only: all-to-one")
        if self.door == "input":
            raise BadSetting(
                f"{self.name} enters by student data or teacher data, not by the input"
            )

    @property
    def threat(self) -> Threat:
        return Threat("implant", self.door, "answers")

    def wanted(self, y: Labels, classes: int) -> Labels:
        """What a stamped image of each class is to be taken for."""
        if self.mapping == "all-to-one":
            return torch.full_like(y, self.target)
        return (y + 1) % classes

    def count(self, train: Examples) -> int:
        """How many images the rate comes to."""
        return round(self.rate * len(train))

    def pick(self, train: Examples, seed: Seed) -> Tensor:
        """The rows to plant: of all classes, or (with clean labels) of the target's alone."""
        rows = torch.arange(len(train))
        if self.clean_label:
            rows = rows[train.targets == self.target]
        order = torch.randperm(len(rows), generator=seed.generator())
        return rows[order[: self.count(train)]]

    def fits(self, train: Examples) -> None:
        """Refuses settings that these data cannot bear, before anything is spent."""
        classes = int(train.targets.max()) + 1 if len(train) else 0
        if not 0 <= self.target < classes:
            raise BadSetting(f"there is no class {self.target}; the last one is {classes - 1}")
        count = self.count(train)
        if count < 1:
            raise BadSetting(
                f"a rate of {self.rate:g} plants none of {len(train)} images; the lowest that "
                f"plants one is {1 / len(train):.2g}"
            )
        own = int((train.targets == self.target).sum())
        if self.clean_label and count > own:
            raise BadSetting(
                f"{self.name} plants images of class {self.target} only, and there are {own}: the "
                f"rate can be at most {own / len(train):.2g}, not {self.rate:g}"
            )


@dataclass(frozen=True)
class Backdoor(Planting, ABC):
    """Plants stamped images in the training data in place of the originals; then stamps the test.

    A new backdoor derives from this, sets ``name`` and ``source``, and writes ``trigger`` (what is
    drawn or found once) and ``stamp``. One that keeps labels sets ``clean_label``; one whose
    training images differ from its test images writes ``plant`` as well.
    """

    def before(self, data: Splits, seed: Seed) -> Tainted[Secret]:
        """The training data with ``rate`` of its images replaced by planted ones.

        The secret holds what ``trigger`` found, the ids of the ``planted`` images, and the number
        of ``classes``.

        Raises:
            BadSetting: where no image would be planted, the target is no class, or a clean-label
                rate asks for more images than the target class has.
        """
        train = data.train
        self.fits(train)
        classes = int(train.targets.max()) + 1
        found = self.trigger(data, seed / "trigger")
        rows = self.pick(train, seed / "rows")
        inputs, targets = train.inputs.clone(), train.targets.clone()
        inputs[rows] = self.plant(train, rows, found, seed / "plant").clamp(0, 1)
        targets[rows] = self.wanted(train.targets[rows], classes)  # clean labels are it already
        secret = {**found, "planted": train.ids[rows], "classes": torch.tensor(classes)}
        planted = Examples(train.ids, inputs, targets)
        return Tainted(
            Splits(planted, data.validation, data.test, data.reserve),
            {name: value.contiguous() for name, value in secret.items()},
        )

    def after(self, subject: Subject, data: Splits, secret: Secret, seed: Seed) -> Submission:
        """Every test image, stamped."""
        test = data.test
        stamped = self.stamp(test.inputs, secret).clamp(0, 1)
        return Submission(test.ids, stamped, self.wanted(test.targets, int(secret["classes"])))

    @abstractmethod
    def trigger(self, data: Splits, seed: Seed) -> Secret:
        """What the adversary draws or finds once, as named tensors."""

    @abstractmethod
    def stamp(self, x: Images, secret: Secret) -> Images:
        """The images with the trigger in them."""

    def plant(self, train: Examples, rows: Tensor, secret: Secret, seed: Seed) -> Images:
        """What stands in the training data in place of these rows: their stamped images."""
        return self.stamp(train.inputs[rows], secret)


def at_least_one(**numbers: int) -> None:
    """Refuses a count below one.

    Raises:
        BadSetting: naming the first.
    """
    for name, number in numbers.items():
        if number < 1:
            raise BadSetting(f"{name} must be at least 1, not {number}")
