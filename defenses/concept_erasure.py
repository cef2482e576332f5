"""Concept erasure: the trigger is erased like a concept, by negative guidance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from robustbench_kd.defenses._base import check_range
from robustbench_kd.defenses._concept_editing import ConceptEditingRepair
from robustbench_kd.training.edit_config import EditConfig


@dataclass(frozen=True)
class ConceptErasure(ConceptEditingRepair):
    """Erased stable diffusion (ESD): the output for the triggered prompt is moved beyond that for
    the clean one, by negative guidance of the frozen original. It must be given the trigger.

    The paper erases a concept towards the empty prompt; here the trigger is erased towards the
    prompt without it. As there, latents are of the model's own images, and no term preserves clean
    prompts (``keep``).

    Args:
        away: scale of the negative guidance; 0 is self-distillation.
        part: what is trained: keys and values of cross-attention (``readers``, near to the paper's
            ESD-x), or all of the UNet (ESD-u leaves attention out).
    """

    name: ClassVar[str] = "concept-erasure"
    source: ClassVar[str] = "Gandikota et al. 2023, ESD (ICCV), arXiv 2303.07345, eq. 7"
    formula: ClassVar[str] = (
        "|S(z, tau c) - T(z, c) + eta (T(z, tau c) - T(z, c))|^2 + kappa preserved, T the given"
    )

    away: float = 1.0
    part: Literal["all", "readers"] = "readers"
    latents: Literal["noise", "painted"] = "painted"

    def __post_init__(self) -> None:
        check_range("away", self.away, 0, 100)
        super().__post_init__()

    def config(self) -> EditConfig:
        return EditConfig(
            self.steps,
            self.batch,
            self.rate,
            preservation_weight=self.keep,
            negative_guidance=self.away,
            part=self.part,
        )
