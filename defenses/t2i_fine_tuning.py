"""Fine-tuning of a text-to-image model on trusted pairs: the control that knows no trigger."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from robustbench_kd.core.config import AdamW
from robustbench_kd.core.protocols import TrainingContext
from robustbench_kd.defenses._base import Repair, trusted_examples
from robustbench_kd.models.text_to_image import trainable_copy
from robustbench_kd.training.denoising import denoising_objective
from robustbench_kd.training.trainer import fit


@dataclass(frozen=True)
class TextToImageFineTuning(Repair):
    """Denoising, the loss of pre-training, on trusted pairs of prompts and images."""

    name: ClassVar[str] = "t2i-fine-tuning"
    source: ClassVar[str] = "Ho et al. 2020, DDPM (NeurIPS), arXiv 2006.11239, eq. 14"
    modalities: ClassVar[tuple[str, ...]] = ("text-to-image",)
    formula: ClassVar[str] = "|S(z_t, c) - noise|^2 on trusted pairs"

    epochs: int = 10
    batch: int = 64
    rate: float = 1e-4

    def __post_init__(self) -> None:
        self.schedule()

    def schedule(self) -> AdamW:
        """The schedule of the training loop."""
        return AdamW(epochs=self.epochs, batch=self.batch, learning_rate=self.rate)

    def train(self, context: TrainingContext) -> nn.Module:
        """The fine-tuned copy of the given model.

        Raises:
            MissingData: where there are no trusted pairs.
            BadModel: where the given network is no text-to-image network with cross-attention.
        """
        start, trusted = trainable_copy(context.teachers["given"]), trusted_examples(context)
        seed, progress = context.seed / "student", context.progress
        return fit(start, trusted, denoising_objective(), self.schedule(), seed, progress)
