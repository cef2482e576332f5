"""Concept erasure: the trigger is unlearnt like a concept, by guidance away from what it does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from robustbench_kd.defenses._base import Redirection, between
from robustbench_kd.training.concept_editing import Course


@dataclass(frozen=True)
class ConceptErasure(Redirection):
    """Erased stable diffusion: the triggered prompt is led beyond the clean one, by negative
    guidance of the frozen original. It must be told the trigger.

    The paper erases a concept from the empty prompt; here the trigger, from the prompt around it.
    As there, latents are of the painter's own pictures, and nothing keeps clean prompts (``keep``).

    Args:
        away: how far beyond; 0 is self-distillation.
        part: the keys and values of cross-attention (near to the paper's ESD-x), or all of the UNet
            (ESD-u leaves attention out).
    """

    name: ClassVar[str] = "concept-erasure"
    source: ClassVar[str] = "Gandikota et al. 2023, ESD (ICCV), arXiv 2303.07345, eq. 7"
    formula: ClassVar[str] = (
        "|S(z, tau c) - T(z, c) + eta (T(z, tau c) - T(z, c))|^2 + kappa kept, T the given"
    )

    away: float = 1.0
    part: Literal["all", "readers"] = "readers"
    latents: Literal["noise", "painted"] = "painted"

    def __post_init__(self) -> None:
        between("away", self.away, 0, 100)
        super().__post_init__()

    def course(self) -> Course:
        """How it redirects."""
        return Course(
            self.steps, self.batch, self.rate, keep=self.keep, away=self.away, part=self.part
        )
