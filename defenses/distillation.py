"""Plain knowledge distillation on clean inputs, from the clean or the robust teacher."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import nn

from robustbench_kd.core.errors import BadSetting
from robustbench_kd.core.options import later
from robustbench_kd.core.protocols import TrainingContext
from robustbench_kd.defenses._base import Recipe, check_range
from robustbench_kd.training.objectives import (
    distillation_loss,
    label_loss,
    sampled_continuations,
    sampled_label_loss,
)
from robustbench_kd.training.trainer import Objective, cached_logits, fit


@dataclass(frozen=True)
class Distillation(Recipe):
    """The control that measures how much robustness transfers through clean distillation.

    ``alpha`` weighs the teacher against the labels: 0.9 for the clean teacher, 1 for the robust.

    Args:
        hard: labels of the teacher in place of its probabilities: ``sampled`` from them at each
            step, or, of language models, continuations ``generated`` from a prompt.
        prompt: tokens of the prompt.
    """

    name: ClassVar[str] = "distillation"
    source: ClassVar[str] = "Hinton, Vinyals & Dean 2015, Distilling the knowledge, sec. 2"
    modalities: ClassVar[tuple[str, ...]] = ("images", "text")
    formula: ClassVar[str] = "(1 - alpha) CE(y, S(x)) + alpha t^2 KL(T^t(x) || S^t(x))"

    teacher: Literal["clean", "robust"] = "clean"
    temperature: float = 4.0
    alpha: float | None = None
    hard: Literal["no", "sampled", "generated"] = later("no")
    prompt: int = later(16)

    def __post_init__(self) -> None:
        check_range("temperature", self.temperature, 0.1, 1000)
        if self.alpha is not None:
            check_range("alpha", self.alpha, 0, 1)
        check_range("prompt", self.prompt, 1, 1_000_000)

    @property
    def teacher_roles(self) -> tuple[str, ...]:
        return (self.teacher,)

    def train(self, context: TrainingContext) -> nn.Module:
        """Trains the student, with ``hard=generated`` on texts that the teacher generates.

        Raises:
            BadSetting: where the teacher is no language model, or the prompt fills the text.
        """
        if self.hard != "generated":
            return super().train(context)
        data, seed = context.data, context.seed / "student"
        if data.targets.dim() != 2 or self.prompt >= data.inputs.shape[1]:
            raise BadSetting(
                "distillation:hard=generated continues a prompt of "
                f"{self.prompt} tokens, and these data leave nothing to continue"
            )
        texts = sampled_continuations(context.teachers[self.teacher], data, self.prompt, seed)
        return fit(context.student, texts, label_loss, context.schedule, seed, context.progress)

    def loss(self, context: TrainingContext) -> Objective:
        teacher_logits = cached_logits(context.teachers[self.teacher], context.data)
        if self.hard == "sampled":
            return sampled_label_loss(teacher_logits)
        usual = {"clean": 0.9, "robust": 1.0}[self.teacher]
        alpha = usual if self.alpha is None else self.alpha
        return distillation_loss(teacher_logits, self.temperature, alpha)
