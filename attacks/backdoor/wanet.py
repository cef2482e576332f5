"""WaNet: a smooth warp as the trigger, and covers with jittered warps that must not act as one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from robustbench_kd.attacks._poison import AttackState
from robustbench_kd.attacks.backdoor._cover_samples import BackdoorWithCovers
from robustbench_kd.core.errors import BadSetting
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.tensor_types import Images
from robustbench_kd.core.types import Examples, Splits
from robustbench_kd.ops.poisoning.image_triggers import control_points, jitter, warp, warping_field


@dataclass(frozen=True)
class WaNet(BackdoorWithCovers):
    """One warp for all poisoned images; covers have it with jitter and keep their label.

    The paper draws poisoned images and covers anew in every batch, since its adversary trains the
    network; here the adversary only supplies data, so each is drawn once.

    Args:
        grid: control points of the warp on each side (the paper's k).
        strength: mean length of the warp's steps at the control points, along each axis, in the
            paper's unit of about half a pixel (its s). The paper uses 0.5, which a small network
            hardly learns on 28x28 greys in a few passes.
        covers: jittered images for each poisoned one (the paper's noise mode).
    """

    name: ClassVar[str] = "wanet"
    source: ClassVar[str] = "Nguyen & Tran 2021, WaNet, arXiv 2102.10369, sec. 3.3 and 3.4"

    grid: int = 4
    strength: float = 1.0
    covers: float = 2.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.grid < 2:
            raise BadSetting(f"the warp needs at least 2 control points a side, not {self.grid}")
        if not self.strength >= 0:
            raise BadSetting(f"strength must be at least 0, not {self.strength:g}")

    def validate_data(self, train: Examples) -> None:
        super().validate_data(train)
        side = train.inputs.shape[-1]
        if self.grid > side:
            raise BadSetting(f"a grid of {self.grid} points is finer than the image ({side})")

    def trigger(self, data: Splits, seed: Seed) -> AttackState:
        points = control_points(self.grid, seed.generator())
        return {"flow": self.strength * warping_field(points, data.train.inputs.shape[-1])}

    def apply_trigger(self, x: Images, state: AttackState) -> Images:
        return warp(x, state["flow"])

    def cover_images(self, train: Examples, rows: Tensor, state: AttackState, seed: Seed) -> Images:
        return warp(train.inputs[rows], jitter(state["flow"], len(rows), seed.generator()))
