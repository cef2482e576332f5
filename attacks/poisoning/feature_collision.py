"""Poison frogs: each poison looks like its own class, and feels like the victim."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from robustbench_kd.attacks.poisoning._surrogates import Schooled
from robustbench_kd.core.errors import BadSetting
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.tensor_types import Images, Scalar
from robustbench_kd.core.types import Examples
from robustbench_kd.models.head import features
from robustbench_kd.ops.poisoning.gradient_matching import collision


@dataclass(frozen=True)
class FeatureCollision(Schooled):
    """Squared feature distance to the victim, plus ``beta`` times that of pixels to the base.

    Made for victims that retrain the last layer only. The paper bounds the pixels by beta alone;
    here they stay in the ball as well, as everyone's do.
    """

    name: ClassVar[str] = "feature-collision"
    source: ClassVar[str] = "Shafahi et al. 2018, Poison Frogs, arXiv 1804.00792"

    rate: float = 0.05
    eps: float = 0.25
    beta: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.beta >= 0:
            raise BadSetting(f"beta is a weight of at least 0, not {self.beta:g}")

    def craft(self, train: Examples, bases: Examples, aim: Examples, seed: Seed) -> Images:
        nets = self.taught(train, seed / "surrogate")
        aims = [features(net, aim.inputs).detach() for net in nets]

        def loss(z: Images) -> Scalar:
            near = torch.stack(
                [collision(features(net, z), at).sum() for net, at in zip(nets, aims, strict=True)]
            ).mean()
            return near + self.beta * (z - bases.inputs).square().sum()

        return self.descended(loss, bases)
