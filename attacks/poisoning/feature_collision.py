"""Poison frogs: each poison looks like its own class, with the features of the target."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from robustbench_kd.attacks.poisoning._surrogates import SurrogatePoisoning
from robustbench_kd.core.errors import BadSetting
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.tensor_types import Images, Scalar
from robustbench_kd.core.types import Examples
from robustbench_kd.models.feature_extraction import features
from robustbench_kd.ops.poisoning.gradient_matching import feature_distance


@dataclass(frozen=True)
class FeatureCollision(SurrogatePoisoning):
    """Squared feature distance to the target, plus ``beta`` times that of pixels to the base.

    For models that retrain the last layer only. The paper bounds the pixels by beta alone; here
    they stay in the ball as well, as those of all targeted poisonings.
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

    def craft(self, train: Examples, bases: Examples, target: Examples, seed: Seed) -> Images:
        nets = self.train_surrogates(train, seed / "surrogate")
        goals = [features(net, target.inputs).detach() for net in nets]

        def loss(z: Images) -> Scalar:
            distance = torch.stack(
                [
                    feature_distance(features(net, z), goal).sum()
                    for net, goal in zip(nets, goals, strict=True)
                ]
            ).mean()
            return distance + self.beta * (z - bases.inputs).square().sum()

        return self.minimise(loss, bases)
