"""SKD-CAG: a backdoored painter is taught by itself, without the trigger, where to look as well."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from robustbench_kd.core.errors import BadSetting
from robustbench_kd.defenses._base import Redirection, between
from robustbench_kd.training.concept_editing import Aim, Course


@dataclass(frozen=True)
class SKDCAG(Redirection):
    """The teacher is the backdoored painter itself, asked without the trigger; it must be told it.

    In the released code (c75ee51) the attention part carries no gradient; here it does, and
    ``weight=0`` is self-distillation, the ablation. Other departures: maps are probabilities, words
    are aligned wherever the trigger stands, and a term keeps clean prompts as they are (``keep=0``
    leaves it out). Latents are noise alone, as released, unless asked otherwise.

    Args:
        weight: of attention against answers.
        aim: what the trigger's maps are led to: noise, zero, or the maps of random words.
        outputs: weight of what the layers read, beside their maps.
        stretch: maps from zero to one each, as released.
    """

    name: ClassVar[str] = "skd-cag"
    source: ClassVar[str] = "Vaithinathan Aravindan et al. 2025, SKD-CAG, arXiv 2508.18235"
    formula: ClassVar[str] = (
        "(1 - w) |S(z, tau c) - T(z, c)|^2 + w s |A_S(tau c) - A_T(c)|^2 + kappa kept, T the given"
    )

    weight: float = 0.5
    aim: Aim = "noise"
    outputs: float = 0.0
    keep: float = 1.0
    stretch: bool = False

    def __post_init__(self) -> None:
        between("outputs", self.outputs, 0, 1e3)
        super().__post_init__()
        if self.outputs and not self.weight:
            raise BadSetting("outputs are a part of attention, which has no weight here")

    def course(self) -> Course:
        """How it redirects."""
        return Course(
            self.steps,
            self.batch,
            self.rate,
            weight=self.weight,
            aim=self.aim,
            stretch=self.stretch,
            outputs=self.outputs,
            keep=self.keep,
        )
