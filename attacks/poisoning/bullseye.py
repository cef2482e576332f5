"""Bullseye Polytope: the victim's features are the centre of those of the poisons."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from robustbench_kd.attacks.poisoning._surrogates import Schooled
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.tensor_types import Images, Scalar
from robustbench_kd.core.types import Examples
from robustbench_kd.models.head import features
from robustbench_kd.ops.poisoning.gradient_matching import off_centre


@dataclass(frozen=True)
class Bullseye(Schooled):
    """The mean feature of all poisons is drawn to the victim's, as a share of its length.

    One poison need not reach what their mean does. Made for victims that retrain the last layer.
    """

    name: ClassVar[str] = "bullseye"
    source: ClassVar[str] = "Aghakhani et al. 2021, Bullseye Polytope, arXiv 2005.00191"

    rate: float = 0.05
    eps: float = 0.25

    def craft(self, train: Examples, bases: Examples, aim: Examples, seed: Seed) -> Images:
        nets = self.taught(train, seed / "surrogate")
        aims = [features(net, aim.inputs).detach() for net in nets]

        def loss(z: Images) -> Scalar:
            return torch.stack(
                [off_centre(features(net, z), at) for net, at in zip(nets, aims, strict=True)]
            ).mean()

        return self.descended(loss, bases)
