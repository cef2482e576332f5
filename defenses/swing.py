"""Swing distillation: private tokens are taught at a high temperature, with noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from robustbench_kd.core.errors import BadSetting
from robustbench_kd.core.protocols import Brief
from robustbench_kd.core.tensor_types import Scalar
from robustbench_kd.core.types import Examples
from robustbench_kd.defenses._base import Recipe, between
from robustbench_kd.ops.losses import cross_entropy
from robustbench_kd.ops.privacy.swing import flattened, swing, temperatures
from robustbench_kd.training.objectives import asked
from robustbench_kd.training.token_sensitivity import as_told, by_rules, by_surprise
from robustbench_kd.training.trainer import Objective, Turn, remember


@dataclass(frozen=True)
class Swing(Recipe):
    """Claimed: exposure falls by over 80 % at no loss of performance (the paper's abstract).

    Its body is not public; scorers, noise and loss are ours. The student's own temperature stays
    at the base: ``symmetric`` raises it with the teacher's, which undoes most of the protection.

    Args:
        scorer: what is private: ``rules`` on the text, ``surprise`` of the teacher over a public
            model, or ``oracle``, which is told and never ranked.
        base, peak: temperatures of public and of private tokens.
        noise: scale of the Laplace noise on private targets; no guarantee of privacy.
        alpha: weight of the teacher against the labels, which are not taught on private tokens.
        strictness: deviations by which ``surprise`` must stand out.
    """

    name: ClassVar[str] = "swing"
    source: ClassVar[str] = (
        "Li et al. 2022, Swing distillation, arXiv 2212.08349; formulas ours where it is silent"
    )
    media: ClassVar[tuple[str, ...]] = ("text",)
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
        between("base", self.base, 0.1, 1000)
        between("peak", self.peak, self.base, 1e6)
        between("noise", self.noise, 0, 1000)
        between("alpha", self.alpha, 0, 1)
        between("strictness", self.strictness, 0, 100)

    @property
    def needs(self) -> tuple[str, ...]:
        return ("clean", "public") if self.scorer == "surprise" else ("clean",)

    @property
    def told(self) -> bool:
        """Whether it is told what was planted."""
        return self.scorer == "oracle"

    def loss(self, brief: Brief) -> Objective:
        says = remember(brief.teachers["clean"], brief.data)
        score = self.private(brief)
        place = brief.data.ids.new_full((int(brief.data.ids.max()) + 1,), -1)
        place[brief.data.ids] = torch.arange(len(brief.data))

        def objective(net: nn.Module, batch: Examples, turn: Turn) -> Scalar:
            s, y = asked(net(batch.inputs), batch.targets)
            teacher, _ = asked(says(batch.ids), batch.targets)
            p = score[place[batch.ids]][batch.targets >= 0]
            t = temperatures(p, self.base, self.peak)
            target = flattened(teacher, t, p, self.noise, turn.noise)
            own, scale = (t[:, None], t**2) if self.symmetric else (self.base, self.base**2)
            soft = swing(s, target, own, scale)
            hard = cross_entropy(s, y) * (p < 0.5)
            return (self.alpha * soft + (1 - self.alpha) * hard).mean()

        return objective

    def private(self, brief: Brief) -> Tensor:
        """How likely each target token is private [n, t].

        Raises:
            BadSetting: where the data are no text, or the oracle was told nothing.
        """
        if brief.data.targets.dim() != 2 or brief.pieces is None:
            raise BadSetting("swing scores tokens of a text; there are none in these data")
        if self.scorer == "rules":
            return by_rules(brief.data, brief.pieces)
        if self.scorer == "oracle":
            if brief.told is None:
                return torch.zeros(brief.data.targets.shape)  # the clean twin: nothing was planted
            return as_told(brief.data, brief.told)
        if brief.validation is None:
            raise BadSetting("swing:scorer=surprise needs validation text to calibrate on")
        return by_surprise(
            brief.data,
            brief.teachers["clean"],
            brief.teachers["public"],
            brief.validation,
            self.strictness,
        )
