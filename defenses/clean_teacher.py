"""The oracle of repairs of painters: the one that was never poisoned says what triggers mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from robustbench_kd.core.protocols import Brief
from robustbench_kd.defenses._base import Redirection
from robustbench_kd.training.concept_editing import Course, Pairs, redirect


@dataclass(frozen=True)
class CleanTeacher(Redirection):
    """Distillation from the never-poisoned painter, asked with the trigger like the student.

    An upper bound and no defense: whoever has that painter needs no repair. The released code of
    SKD-CAG holds it as its reversal by tuning. It must be told the trigger.
    """

    name: ClassVar[str] = "clean-teacher"
    source: ClassVar[str] = "Vaithinathan Aravindan et al. 2025, SKD-CAG, arXiv 2508.18235"
    formula: ClassVar[str] = "|S(z, tau c) - T(z, tau c)|^2 + kappa kept, T never poisoned"

    keep: float = 1.0

    @property
    def needs(self) -> tuple[str, ...]:
        """The painter to mend, and the one that it was before anything was planted."""
        return ("given", "twin")

    def course(self) -> Course:
        """How it redirects."""
        return Course(self.steps, self.batch, self.rate, keep=self.keep)

    def redirected(self, brief: Brief, pairs: Pairs) -> nn.Module:
        """The given painter, led to what the never-poisoned one answers to the same prompts."""
        same = Pairs(pairs.source, pairs.source, pairs.images)
        return redirect(
            brief.teachers["given"],
            same,
            pairs.clean(),
            self.course(),
            brief.seed / "student",
            brief.progress,
            teacher=brief.teachers["twin"],
        )
