"""Concept erasure: the trigger is unlearnt like a concept, by guidance away from what it does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import nn

from robustbench_kd.defenses import Repair, between
from robustbench_kd.protocols import Brief
from robustbench_kd.redirecting import Course, redirect
from robustbench_kd.rewriting import painted, told_pairs


@dataclass(frozen=True)
class ConceptErasure(Repair):
    """Erased stable diffusion: the triggered prompt is led beyond the clean one, by negative
    guidance of the frozen original. It must be told the trigger.

    The paper erases a concept from the empty prompt; here the trigger, from the prompt around it.

    Args:
        away: how far beyond; 0 is self-distillation.
        part: the keys and values of cross-attention (near to the paper's ESD-x), or all of the UNet
            (ESD-u leaves attention out).
        keep: weight of clean and empty prompts; the paper has none.
        latents: the painter's own pictures under noise, as in the paper, or noise alone.
        draws: such pictures of each prompt.
    """

    name: ClassVar[str] = "concept-erasure"
    source: ClassVar[str] = "Gandikota et al. 2023, ESD (ICCV), arXiv 2303.07345, eq. 7"
    media: ClassVar[tuple[str, ...]] = ("pictures",)
    formula: ClassVar[str] = (
        "|S(z, tau c) - T(z, c) + eta (T(z, tau c) - T(z, c))|^2 + kappa kept, T the given"
    )

    steps: int = 400
    batch: int = 64
    rate: float = 1e-4
    away: float = 1.0
    part: Literal["all", "readers"] = "readers"
    keep: float = 0.0
    latents: Literal["noise", "painted"] = "painted"
    draws: int = 4

    def __post_init__(self) -> None:
        between("away", self.away, 0, 100)
        between("draws", self.draws, 1, 1000)
        self.course()

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
            keep=self.keep,
            away=self.away,
            part=self.part,
        )

    def harden(self, brief: Brief) -> nn.Module:
        """The given painter, led away from what the trigger does.

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
