"""Label flipping: wrong labels on images that stay as they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch

from robustbench_kd.attacks.poisoning._base import Poisoning, Secret
from robustbench_kd.core.errors import BadSetting
from robustbench_kd.core.protocols import Subject
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.types import Examples, Splits, Submission, Tainted, Threat


@dataclass(frozen=True)
class LabelFlip(Poisoning):
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
    def threat(self) -> Threat:
        return Threat("degrade", self.door, "answers")

    def before(self, data: Splits, seed: Seed) -> Tainted[Secret]:
        """The training data with exactly ``rate`` of all labels flipped.

        Raises:
            BadSetting: where no label would flip, a class does not exist, or a pair asks for more
                images than the class has.
        """
        train = data.train
        classes = int(train.targets.max()) + 1 if len(train) else 0
        pair = self.kind == "pair"
        for one in (self.origin, self.target) if pair else ():
            if not 0 <= one < classes:
                raise BadSetting(f"there is no class {one}; the last one is {classes - 1}")
        rows = self.drawn(train, self.origin if pair else None, seed / "rows")
        if not pair and classes < 2:
            raise BadSetting("a label needs another class to flip to, and there is one class only")
        targets = train.targets.clone()
        if pair:
            targets[rows] = self.target
        else:
            noise = (seed / "labels").generator()
            step = torch.randint(1, classes, (len(rows),), generator=noise).to(targets)
            targets[rows] = (targets[rows] + step) % classes
        flipped = Examples(train.ids, train.inputs, targets)
        whole = Splits(flipped, data.validation, data.test, data.reserve)
        return Tainted(whole, {"planted": train.ids[rows]})

    def after(self, subject: Subject, data: Splits, secret: Secret, seed: Seed) -> Submission:
        """Every test image as it is; of a pair's first class, the second is wanted."""
        test, wanted = data.test, None
        if self.kind == "pair":
            wanted = torch.where(test.targets == self.origin, self.target, test.targets)
        return Submission(test.ids, test.inputs, wanted)
