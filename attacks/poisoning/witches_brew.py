"""Witches' Brew: poisons whose training gradient matches that of the target under a wrong label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from robustbench_kd.attacks.poisoning._surrogates import SurrogatePoisoning
from robustbench_kd.core.errors import BadSetting
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.tensor_types import Images, Scalar
from robustbench_kd.core.types import Examples
from robustbench_kd.ops.attacks.projections import uniform_start
from robustbench_kd.ops.poisoning.gradient_matching import (
    gradient_mismatch,
    random_shift_and_flip,
    signed_adam,
    weight_gradient,
)


@dataclass(frozen=True)
class WitchesBrew(SurrogatePoisoning):
    """Gradient matching; for models that are trained from scratch.

    The gradient of the poisons, under their own true labels, is aligned with that of the target
    image under the target class, so that every step on the poisons is a step towards the mistake.

    Args:
        restarts: tries from random points of the ball; the one of least mismatch is used.
        batch: poisons whose gradient is matched as one.
        shift: pixels by which poisons are randomly shifted meanwhile; ``flip`` mirrors them as
            well. For models that augment their data.
    """

    name: ClassVar[str] = "witches-brew"
    source: ClassVar[str] = "Geiping et al. 2021, Witches' Brew, arXiv 2009.02276, algorithm 1"

    restarts: int = 1
    batch: int = 512
    shift: int = 0
    flip: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.restarts < 1 or self.batch < 1:
            raise BadSetting(f"{self.name} needs at least one restart and one poison a batch")
        if self.shift < 0:
            raise BadSetting(f"a shift is a number of pixels of at least 0, not {self.shift}")

    def craft(self, train: Examples, bases: Examples, target: Examples, seed: Seed) -> Images:
        nets = self.train_surrogates(train, seed / "surrogate")
        goals = [weight_gradient(net, target.inputs, target.targets) for net in nets]
        y = bases.targets.split(self.batch)

        def mismatch(z: Images) -> Scalar:
            """The mean mismatch over batches and surrogates."""
            return torch.stack(
                [
                    gradient_mismatch(weight_gradient(net, part, own, differentiable=True), goal)
                    for net, goal in zip(nets, goals, strict=True)
                    for part, own in zip(z.split(self.batch), y, strict=True)
                ]
            ).mean()

        def attempt(turn: int) -> Images:
            start = uniform_start(bases.inputs, self.budget, (seed / "start" / turn).generator())
            noise = (seed / "moves" / turn).generator()
            return signed_adam(
                lambda z: mismatch(random_shift_and_flip(z, self.shift, self.flip, noise)),
                bases.inputs,
                self.budget,
                steps=self.steps,
                stride=self.stride,
                start=start,
            )

        return min(map(attempt, range(self.restarts)), key=lambda z: float(mismatch(z).detach()))
