"""SKD-CAG: self-distillation of a backdoored text-to-image model with cross-attention guidance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from robustbench_kd.core.errors import BadSetting
from robustbench_kd.defenses._base import check_range
from robustbench_kd.defenses._concept_editing import ConceptEditingRepair
from robustbench_kd.training.edit_config import EditConfig, MapTarget


@dataclass(frozen=True)
class SKDCAG(ConceptEditingRepair):
    """The teacher is the backdoored model itself, queried without the trigger; it must be given it.

    In the released code (c75ee51) the attention part carries no gradient; here it does, and
    ``weight=0`` is self-distillation, the ablation. Other departures: maps are probabilities, words
    are matched wherever the trigger stands, and a term preserves clean prompts (``keep=0`` leaves
    it out). Latents are noise alone, as released, unless set otherwise.

    Args:
        weight: of attention against model outputs.
        aim: target of the trigger's maps: noise, zero, or the maps of random words.
        outputs: weight of the outputs of attention layers, beside their maps.
        stretch: rescales each map from zero to one, as released.
    """

    name: ClassVar[str] = "skd-cag"
    source: ClassVar[str] = "Vaithinathan Aravindan et al. 2025, SKD-CAG, arXiv 2508.18235"
    formula: ClassVar[str] = (
        "(1 - w) |S(z, tau c) - T(z, c)|^2 + w s |A_S(tau c) - A_T(c)|^2 + kappa preserved, "
        "T the given"
    )

    weight: float = 0.5
    aim: MapTarget = "noise"
    outputs: float = 0.0
    keep: float = 1.0
    stretch: bool = False

    def __post_init__(self) -> None:
        check_range("outputs", self.outputs, 0, 1e3)
        super().__post_init__()
        if self.outputs and not self.weight:
            raise BadSetting("outputs are a part of attention, which has no weight here")

    def config(self) -> EditConfig:
        return EditConfig(
            self.steps,
            self.batch,
            self.rate,
            attention_weight=self.weight,
            map_target=self.aim,
            rescale=self.stretch,
            output_weight=self.outputs,
            preservation_weight=self.keep,
        )
