"""The oracle of text-to-image repairs: distillation from the model before it was poisoned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from robustbench_kd.core.protocols import TrainingContext
from robustbench_kd.defenses._concept_editing import ConceptEditingRepair
from robustbench_kd.training.concept_editing import edit_concepts
from robustbench_kd.training.edit_config import EditConfig
from robustbench_kd.training.edit_pairs import EditPairs


@dataclass(frozen=True)
class CleanModelOracle(ConceptEditingRepair):
    """Distillation from the unpoisoned model, queried with the trigger like the student.

    An upper bound and no defense: whoever has that model needs no repair. The released code of
    SKD-CAG contains it as its reversal by fine-tuning. It must be given the trigger.
    """

    name: ClassVar[str] = "clean-model-oracle"
    source: ClassVar[str] = "Vaithinathan Aravindan et al. 2025, SKD-CAG, arXiv 2508.18235"
    formula: ClassVar[str] = "|S(z, tau c) - T(z, tau c)|^2 + kappa preserved, T never poisoned"

    keep: float = 1.0

    @property
    def teacher_roles(self) -> tuple[str, ...]:
        """The model to repair, and the same model before it was poisoned."""
        return ("given", "unpoisoned")

    def config(self) -> EditConfig:
        return EditConfig(self.steps, self.batch, self.rate, preservation_weight=self.keep)

    def edit(self, context: TrainingContext, pairs: EditPairs) -> nn.Module:
        """The given model, trained to answer triggered prompts as the unpoisoned one does."""
        return edit_concepts(
            context.teachers["given"],
            EditPairs(pairs.source, pairs.source, pairs.images),
            pairs.unchanged(),
            self.config(),
            context.seed / "student",
            context.progress,
            teacher=context.teachers["unpoisoned"],
        )
