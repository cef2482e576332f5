"""Plain knowledge distillation on clean inputs, from the clean or the robust teacher."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import nn

from robustbench_kd.core.errors import BadSetting
from robustbench_kd.core.options import later
from robustbench_kd.core.protocols import Brief
from robustbench_kd.defenses._base import Recipe, between
from robustbench_kd.training.objectives import by_answers, by_labels, by_samples, continued
from robustbench_kd.training.trainer import Objective, fit, remember


@dataclass(frozen=True)
class Distillation(Recipe):
    """How much robustness leaks through clean distillation is what this control measures.

    ``alpha`` weighs the teacher against the labels: 0.9 for the clean teacher, 1 for the robust.

    Args:
        hard: labels of the teacher in place of its probabilities: ``sampled`` from them anew each
            time, or, of language models, ``generated`` texts that go on from a prompt.
        prompt: tokens of the prompt.
    """

    name: ClassVar[str] = "distillation"
    source: ClassVar[str] = "Hinton, Vinyals & Dean 2015, Distilling the knowledge, sec. 2"
    media: ClassVar[tuple[str, ...]] = ("images", "text")
    formula: ClassVar[str] = "(1 - alpha) CE(y, S(x)) + alpha t^2 KL(T^t(x) || S^t(x))"

    teacher: Literal["clean", "robust"] = "clean"
    temperature: float = 4.0
    alpha: float | None = None
    hard: Literal["no", "sampled", "generated"] = later("no")
    prompt: int = later(16)

    def __post_init__(self) -> None:
        between("temperature", self.temperature, 0.1, 1000)
        if self.alpha is not None:
            between("alpha", self.alpha, 0, 1)
        between("prompt", self.prompt, 1, 1_000_000)

    @property
    def needs(self) -> tuple[str, ...]:
        return (self.teacher,)

    def harden(self, brief: Brief) -> nn.Module:
        """Trains the student of the brief, on texts of the teacher where they are asked for.

        Raises:
            BadSetting: where a classifier is asked to generate, or the prompt fills the text.
        """
        if self.hard == "generated":
            if brief.data.targets.dim() != 2 or self.prompt >= brief.data.inputs.shape[1]:
                raise BadSetting(
                    f"distillation:hard=generated goes on from a prompt of {self.prompt} tokens, "
                    "and these data leave it nothing to go on with"
                )
            said = continued(
                brief.teachers[self.teacher], brief.data, self.prompt, brief.seed / "student"
            )
            return fit(
                brief.student,
                said,
                by_labels,
                brief.schedule,
                brief.seed / "student",
                brief.progress,
            )
        return super().harden(brief)

    def loss(self, brief: Brief) -> Objective:
        says = remember(brief.teachers[self.teacher], brief.data)
        if self.hard == "sampled":
            return by_samples(says)
        alpha = (
            self.alpha if self.alpha is not None else {"clean": 0.9, "robust": 1.0}[self.teacher]
        )
        return by_answers(says, self.temperature, alpha)
