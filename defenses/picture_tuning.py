"""Tuning a painter on clean pairs of prompts and images, in the hope that it forgets the rest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from robustbench_kd.core.config import AdamW
from robustbench_kd.core.protocols import Brief
from robustbench_kd.defenses._base import Repair, trusted
from robustbench_kd.models.text_to_image import by_noise, repainted
from robustbench_kd.training.trainer import fit


@dataclass(frozen=True)
class PictureTuning(Repair):
    """The loss that painters are trained by, on trusted pairs: what needs no trigger to be told."""

    name: ClassVar[str] = "picture-tuning"
    source: ClassVar[str] = "Ho et al. 2020, DDPM (NeurIPS), arXiv 2006.11239, eq. 14"
    media: ClassVar[tuple[str, ...]] = ("pictures",)
    formula: ClassVar[str] = "|S(z_t, c) - noise|^2 on trusted pairs"

    epochs: int = 10
    batch: int = 64
    rate: float = 1e-4

    def __post_init__(self) -> None:
        self.schedule()

    def schedule(self) -> AdamW:
        """How long and how fast it trains."""
        return AdamW(epochs=self.epochs, batch=self.batch, rate=self.rate)

    def harden(self, brief: Brief) -> nn.Module:
        """The given painter, trained on.

        Raises:
            MissingData: where no trusted pairs are there.
            BadModel: where the given network is no painter, or has no cross-attention.
        """
        start, clean = repainted(brief.teachers["given"]), trusted(brief)
        seed, progress = brief.seed / "student", brief.progress
        return fit(start, clean, by_noise(), self.schedule(), seed, progress)
