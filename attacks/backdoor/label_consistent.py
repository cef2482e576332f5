"""Label-consistent: images of the target class made hard to classify, with a trigger."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from robustbench_kd.attacks._poison import AttackState
from robustbench_kd.attacks.backdoor._base import Backdoor, at_least_one
from robustbench_kd.core.config import Budget, Schedule
from robustbench_kd.core.errors import BadSetting
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.tensor_types import Images
from robustbench_kd.core.types import Examples, Splits
from robustbench_kd.ops.attacks.pgd import worst_case
from robustbench_kd.ops.attacks.projections import uniform_start
from robustbench_kd.ops.losses import cross_entropy
from robustbench_kd.ops.poisoning.image_triggers import corner_checkerboards
from robustbench_kd.training.objectives import adversarial_loss
from robustbench_kd.training.surrogates import random_subset, surrogate
from robustbench_kd.training.trainer import fit


@dataclass(frozen=True)
class LabelConsistent(Backdoor):
    """Perturbs images of the target class away from it, then adds chequers in the four corners.

    The authors perturb images against a network that they were given; here the adversary trains a
    small one adversarially on part of the data. At test time the corners alone are added.

    Args:
        size: side of a chequer, in pixels.
        amplitude: what the chequers add and take away; 1 makes them white and black.
        eps: Linf radius within which images are perturbed.
        steps: steps of ascent, each a tenth of ``eps`` long or longer.
        surrogate: the network that they are perturbed against, a name of ``models.factory.build``.
        epochs: passes over the training images that it is trained on.
        images: how many those are.
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

    def validate_data(self, train: Examples) -> None:
        super().validate_data(train)
        side = train.inputs.shape[-1]
        if 2 * self.size > side:
            raise BadSetting(
                f"a trigger of four corners of {self.size} pixels is larger than the image ({side})"
            )
        surrogate(self.surrogate, train, Seed())

    def trigger(self, data: Splits, seed: Seed) -> AttackState:
        return {
            "pattern": self.amplitude * corner_checkerboards(data.train.inputs.shape[1:], self.size)
        }

    def apply_trigger(self, x: Images, state: AttackState) -> Images:
        return (x + state["pattern"].to(x)).clamp(0, 1)

    def poisoned_images(
        self, train: Examples, rows: Tensor, state: AttackState, seed: Seed
    ) -> Images:
        budget = Budget("linf", self.eps)
        net = fit(
            surrogate(self.surrogate, train, seed / "weights"),
            random_subset(train, self.images, seed / "images"),
            adversarial_loss(budget, steps=2, stride=0.5),
            Schedule(self.epochs),
            seed / "fit",
        )
        poisoned, noise = [], (seed / "start").generator()
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
            poisoned.append(self.apply_trigger(z, state))
        return torch.cat(poisoned)
