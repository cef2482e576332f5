"""Bullseye Polytope: the target's features become the centre of those of the poisons."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from robustbench_kd.attacks.poisoning._surrogates import SurrogatePoisoning
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.tensor_types import Images, Scalar
from robustbench_kd.core.types import Examples
from robustbench_kd.models.feature_extraction import features
from robustbench_kd.ops.poisoning.gradient_matching import centroid_distance


@dataclass(frozen=True)
class BullseyePolytope(SurrogatePoisoning):
    """Minimises the distance of the poisons' mean feature to the target's, relative to its norm.

    Only the mean has to come near, not each poison. For models that retrain the last layer only.
    """

    name: ClassVar[str] = "bullseye-polytope"
    source: ClassVar[str] = "Aghakhani et al. 2021, Bullseye Polytope, arXiv 2005.00191"

    rate: float = 0.05
    eps: float = 0.25

    def craft(self, train: Examples, bases: Examples, target: Examples, seed: Seed) -> Images:
        nets = self.train_surrogates(train, seed / "surrogate")
        goals = [features(net, target.inputs).detach() for net in nets]

        def loss(z: Images) -> Scalar:
            return torch.stack(
                [
                    centroid_distance(features(net, z), goal)
                    for net, goal in zip(nets, goals, strict=True)
                ]
            ).mean()

        return self.minimise(loss, bases)
