"""Label-consistent: images of the target class made hard to tell, so that the trigger is learnt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from robustbench_kd.attacks.backdoor._base import Backdoor, Secret, at_least_one
from robustbench_kd.core.config import Budget, Schedule
from robustbench_kd.core.errors import BadSetting
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.tensor_types import Images
from robustbench_kd.core.types import Examples, Splits
from robustbench_kd.ops.attacks.pgd import worst_case
from robustbench_kd.ops.attacks.projections import uniform_start
from robustbench_kd.ops.losses import cross_entropy
from robustbench_kd.ops.poisoning.image_triggers import corners
from robustbench_kd.training.objectives import under_attack
from robustbench_kd.training.surrogates import some, surrogate
from robustbench_kd.training.trainer import fit


@dataclass(frozen=True)
class LabelConsistent(Backdoor):
    """Moves images of the target class away from it, then adds chequers in the four corners.

    The authors move images by a network that they were given; here the adversary trains a small
    one adversarially on part of the data. At test the corners alone are added.

    Args:
        size: side of a chequer, in pixels.
        amplitude: what the chequers add and take away; 1 makes them white and black.
        eps: Linf radius within which images are moved.
        steps: steps of ascent, each a tenth of ``eps`` long or longer.
        surrogate: the network they are moved by, a name of ``nets.build``.
        epochs: passes over the ``images`` that it is trained on.
    """

    name: ClassVar[str] = "label-consistent"
    source: ClassVar[str] = (
        "Turner, Tsipras & Madry 2019, Label-consistent backdoor attacks, arXiv 1912.02771"
    )
    clean_label: ClassVar[bool] = True

    rate: float = 0.05
    size: int = 3
    amplitude: float = 1.0
    eps: float = 8 / 255
    steps: int = 20
    surrogate: str = "resnet-12-24-48"
    epochs: int = 2
    images: int = 10_000

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least_one(size=self.size, steps=self.steps, epochs=self.epochs, images=self.images)
        if not 0 < self.amplitude <= 1:
            raise BadSetting(f"amplitude must lie in (0, 1], not {self.amplitude:g}")
        if not 0 <= self.eps <= 1:
            raise BadSetting(f"eps must lie in [0, 1], not {self.eps:g}")

    def fits(self, train: Examples) -> None:
        super().fits(train)
        side = train.inputs.shape[-1]
        if 2 * self.size > side:
            raise BadSetting(
                f"a trigger of four corners of {self.size} pixels is larger than the image ({side})"
            )
        surrogate(self.surrogate, train, Seed())

    def trigger(self, data: Splits, seed: Seed) -> Secret:
        return {"pattern": self.amplitude * corners(data.train.inputs.shape[1:], self.size)}

    def stamp(self, x: Images, secret: Secret) -> Images:
        return (x + secret["pattern"].to(x)).clamp(0, 1)

    def plant(self, train: Examples, rows: Tensor, secret: Secret, seed: Seed) -> Images:
        budget = Budget("linf", self.eps)
        net = fit(
            surrogate(self.surrogate, train, seed / "weights"),
            some(train, self.images, seed / "images"),
            under_attack(budget, steps=2, stride=0.5),
            Schedule(self.epochs),
            seed / "fit",
        )
        moved, noise = [], (seed / "start").generator()
        for part in rows.split(500):
            x, y = train.inputs[part], train.targets[part]
            z = worst_case(
                net,
                x,
                budget,
                lambda s, _, y=y: cross_entropy(s, y),  # type: ignore[misc]
                steps=self.steps,
                stride=max(0.1, 2.5 / self.steps),
                start=uniform_start(x, budget, noise),
            )
            moved.append(self.stamp(z, secret))
        return torch.cat(moved)
