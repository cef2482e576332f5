"""SKD-CAG: a backdoored painter is taught by itself, without the trigger, where to look as well."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import nn

from robustbench_kd.defenses import Repair, between
from robustbench_kd.errors import BadSetting
from robustbench_kd.protocols import Brief
from robustbench_kd.redirecting import Aim, Course, redirect
from robustbench_kd.rewriting import painted, told_pairs


@dataclass(frozen=True)
class SKDCAG(Repair):
    """The teacher is the backdoored painter itself, asked without the trigger; it must be told it.

    In the released code (c75ee51) the attention part carries no gradient; here it does, and
    ``weight=0`` is self-distillation, the ablation. Other departures: maps are probabilities, words
    are aligned wherever the trigger stands, and a term keeps clean prompts as they are (``keep=0``
    leaves it out).

    Args:
        weight: of attention against answers.
        aim: what the trigger's maps are led to: noise, zero, or the maps of random words.
        outputs: weight of what the layers read, beside their maps.
        keep: weight of clean and empty prompts.
        stretch: maps from zero to one each, as released.
        latents: noise alone, as released, or the painter's own pictures under noise.
        draws: such pictures of each prompt.
    """

    name: ClassVar[str] = "skd-cag"
    source: ClassVar[str] = "Vaithinathan Aravindan et al. 2025, SKD-CAG, arXiv 2508.18235"
    media: ClassVar[tuple[str, ...]] = ("pictures",)
    formula: ClassVar[str] = (
        "(1 - w) |S(z, tau c) - T(z, c)|^2 + w s |A_S(tau c) - A_T(c)|^2 + kappa kept, T the given"
    )

    steps: int = 400
    batch: int = 64
    rate: float = 1e-4
    weight: float = 0.5
    aim: Aim = "noise"
    outputs: float = 0.0
    keep: float = 1.0
    stretch: bool = False
    latents: Literal["noise", "painted"] = "noise"
    draws: int = 4

    def __post_init__(self) -> None:
        between("keep", self.keep, 0, 1e3)
        between("outputs", self.outputs, 0, 1e3)
        between("draws", self.draws, 1, 1000)
        self.course()
        if self.outputs and not self.weight:
            raise BadSetting("outputs are a part of attention, which has no weight here")

    @property
    def told(self) -> bool:
        """It must know the trigger."""
        return True

    def course(self) -> Course:
        """How it redirects."""
        return Course(
            steps=self.steps,
            batch=self.batch,
            rate=self.rate,
            weight=self.weight,
            aim=self.aim,
            stretch=self.stretch,
            outputs=self.outputs,
            keep=self.keep,
        )

    def harden(self, brief: Brief) -> nn.Module:
        """The given painter, led to answer triggered prompts as clean ones.

        Raises:
            MissingData: where nothing was told.
            BadModel: where the given network is no painter, or has no cross-attention.
        """
        given, pairs = brief.teachers["given"], told_pairs(brief, self.name)
        if self.latents == "painted":
            pairs = painted(given, pairs, self.draws, brief.seed / "painted")
        return redirect(
            given, pairs, pairs.clean(), self.course(), brief.seed / "student", brief.progress
        )
