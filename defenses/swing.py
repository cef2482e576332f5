"""Swing distillation: private tokens are distilled at a high temperature, with noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from robustbench_kd.core.errors import BadSetting
from robustbench_kd.core.protocols import TrainingContext
from robustbench_kd.core.tensor_types import Scalar
from robustbench_kd.core.types import Examples
from robustbench_kd.defenses._base import Recipe, check_range
from robustbench_kd.ops.losses import cross_entropy
from robustbench_kd.ops.privacy.swing import soft_targets, swing_loss, token_temperatures
from robustbench_kd.training.objectives import scored_positions
from robustbench_kd.training.token_sensitivity import (
    likelihood_ratio_sensitivity,
    oracle_sensitivity,
    rule_based_sensitivity,
)
from robustbench_kd.training.trainer import Objective, TrainStep, cached_logits


@dataclass(frozen=True)
class Swing(Recipe):
    """Claimed: exposure falls by over 80 % at no loss of performance (the paper's abstract).

    Its body is not public; scorers, noise and loss are ours. The student's own temperature stays
    at the base: ``symmetric`` raises it with the teacher's, which undoes most of the protection.

    Args:
        scorer: what is private: ``rules`` on the text, ``surprise``: the teacher's gain in
            likelihood over a public model, or ``oracle``, which is given the secrets and not
            ranked.
        base, peak: temperatures of public and of private tokens.
        noise: scale of the Laplace noise on private targets; no guarantee of privacy.
        alpha: weight of the teacher against the labels, which are not used on private tokens.
        strictness: deviations by which a token must stand out for ``surprise``.
    """

    name: ClassVar[str] = "swing"
    source: ClassVar[str] = (
        "Li et al. 2022, Swing distillation, arXiv 2212.08349; formulas ours where it is silent"
    )
    modalities: ClassVar[tuple[str, ...]] = ("text",)
    formula: ClassVar[str] = (
        "alpha base^2 KL(T^t(x) + p noise || S^base(x)) + (1 - alpha) CE(y, S(x)) [p < 1/2], "
        "t = base + (peak - base) p"
    )

    scorer: Literal["rules", "surprise", "oracle"] = "rules"
    base: float = 1.0
    peak: float = 20.0
    noise: float = 0.0
    alpha: float = 0.9
    symmetric: bool = False
    strictness: float = 3.0

    def __post_init__(self) -> None:
        check_range("base", self.base, 0.1, 1000)
        check_range("peak", self.peak, self.base, 1e6)
        check_range("noise", self.noise, 0, 1000)
        check_range("alpha", self.alpha, 0, 1)
        check_range("strictness", self.strictness, 0, 100)

    @property
    def teacher_roles(self) -> tuple[str, ...]:
        return ("clean", "public") if self.scorer == "surprise" else ("clean",)

    @property
    def oracle(self) -> bool:
        """Whether it is given the inserted secrets."""
        return self.scorer == "oracle"

    def loss(self, context: TrainingContext) -> Objective:
        teacher_logits = cached_logits(context.teachers["clean"], context.data)
        sensitivity = self.sensitivity(context)
        rows = context.data.ids.new_full((int(context.data.ids.max()) + 1,), -1)
        rows[context.data.ids] = torch.arange(len(context.data))

        def objective(net: nn.Module, batch: Examples, step: TrainStep) -> Scalar:
            student, y = scored_positions(net(batch.inputs), batch.targets)
            teacher, _ = scored_positions(teacher_logits(batch.ids), batch.targets)
            p = sensitivity[rows[batch.ids]][batch.targets >= 0]
            t = token_temperatures(p, self.base, self.peak)
            target = soft_targets(teacher, t, p, self.noise, step.noise)
            own, scale = (t[:, None], t**2) if self.symmetric else (self.base, self.base**2)
            soft = swing_loss(student, target, own, scale)
            hard = cross_entropy(student, y) * (p < 0.5)
            return (self.alpha * soft + (1 - self.alpha) * hard).mean()

        return objective

    def sensitivity(self, context: TrainingContext) -> Tensor:
        """How likely each target token is private [n, t].

        Raises:
            BadSetting: where the data are no text, or there is none to calibrate on.
        """
        data = context.data
        if data.targets.dim() != 2 or context.detokenize is None:
            raise BadSetting("swing scores tokens of a text; there are none in these data")
        if self.scorer == "rules":
            return rule_based_sensitivity(data, context.detokenize)
        if self.scorer == "oracle":
            if context.oracle is None:  # the clean counterpart: nothing was inserted
                return torch.zeros(data.targets.shape)
            return oracle_sensitivity(data, context.oracle)
        if context.validation is None:
            raise BadSetting("swing:scorer=surprise needs validation text to calibrate on")
        return likelihood_ratio_sensitivity(
            data,
            context.teachers["clean"],
            context.teachers["public"],
            context.validation,
            self.strictness,
        )
