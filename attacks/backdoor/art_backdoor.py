"""The Adversarial Robustness Toolbox's backdoor: a pattern or a pixel near the corner."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from robustbench_kd.attacks._poison import AttackState
from robustbench_kd.attacks.backdoor._base import Backdoor
from robustbench_kd.core.errors import BadSetting
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.tensor_types import Images
from robustbench_kd.core.types import Examples, Splits
from robustbench_kd.integrations.art import Perturbation, add_backdoor_trigger

REACH = {"pattern": 2, "single": 0}  # pixels that a trigger spreads beyond its distance


@dataclass(frozen=True)
class ARTBackdoor(Backdoor):
    """The library's trigger; images and labels are chosen as for every backdoor here.

    The library's other poisoning attacks have no entry: its clean-label form draws rows with
    replacement from the global generator and does not name them, and its Bullseye Polytope never
    reads the target. ``label-consistent``, ``witches-brew`` and ``bullseye-polytope`` are our own.

    Args:
        perturbation: ``pattern``, four pixels of a chequer, or ``single``, one pixel.
        distance: how far from the lower right corner, in pixels.
    """

    name: ClassVar[str] = "art-backdoor"
    source: ClassVar[str] = (
        "Nicolae et al. 2018, Adversarial Robustness Toolbox v1.2.0, after Gu et al. 2017"
    )

    perturbation: Perturbation = "pattern"
    distance: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.distance < 1:
            raise BadSetting(
                f"the trigger lies at least 1 pixel from the edge, not {self.distance}"
            )

    def validate_data(self, train: Examples) -> None:
        super().validate_data(train)
        side = train.inputs.shape[-1]
        if self.distance + REACH[self.perturbation] > side:
            raise BadSetting(
                f"a trigger {self.distance} pixels from the corner is outside of the image ({side})"
            )

    def trigger(self, data: Splits, seed: Seed) -> AttackState:
        return {"distance": torch.tensor(self.distance)}

    def apply_trigger(self, x: Images, state: AttackState) -> Images:
        return add_backdoor_trigger(x, self.perturbation, int(state["distance"]))
