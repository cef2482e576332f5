"""The teacher's texts, less those that a public model finds strangest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustbench_kd.core.errors import BadSetting
from robustbench_kd.core.protocols import Brief
from robustbench_kd.core.types import IGNORED, Examples
from robustbench_kd.defenses._base import Recipe, between
from robustbench_kd.training.objectives import by_labels, continued
from robustbench_kd.training.trainer import Objective, fit


@dataclass(frozen=True)
class PerplexityFilter(Recipe):
    """Distillation on generated texts; the share with the highest perplexity is thrown away.

    The published finding is that such filters miss fluent payloads (arXiv 2505.24842, abstract).

    Args:
        drop: the share that is thrown away.
        prompt: tokens of the prompt, where rows are plain text.
    """

    name: ClassVar[str] = "perplexity-filter"
    source: ClassVar[str] = (
        "Alon & Kamfonas 2023, Detecting language model attacks with perplexity; against bias: "
        "Chaudhari et al. 2025, arXiv 2505.24842"
    )
    media: ClassVar[tuple[str, ...]] = ("text",)
    formula: ClassVar[str] = "CE(y', S(x)), y' ~ T(x) where log P_public(y') / |y'| is not too low"

    drop: float = 0.1
    prompt: int = 16

    def __post_init__(self) -> None:
        between("drop", self.drop, 0, 0.95)
        between("prompt", self.prompt, 1, 1_000_000)

    @property
    def needs(self) -> tuple[str, ...]:
        return ("clean", "public")

    def loss(self, brief: Brief) -> Objective:
        return by_labels

    def harden(self, brief: Brief) -> nn.Module:
        """Trains the student on the texts that are left.

        Raises:
            BadSetting: where the teacher is no language model.
        """
        if brief.data.targets.dim() != 2:
            raise BadSetting("perplexity-filter reads texts of the teacher; a classifier says none")
        seed = brief.seed / "student"
        said = continued(brief.teachers["clean"], brief.data, self.prompt, seed)
        left = self.kept(brief.teachers["public"], said)
        return fit(brief.student, said.take(left), by_labels, brief.schedule, seed, brief.progress)

    def kept(self, public: nn.Module, said: Examples) -> Tensor:
        """The places of the texts that are kept, in their order."""
        parts = []
        with torch.inference_mode():
            for rows in torch.arange(len(said)).split(64):
                targets = said.targets[rows]
                logp = F.log_softmax(public(said.inputs[rows]), -1)
                wanted = logp.gather(2, targets.clamp_min(0)[..., None]).squeeze(2)
                here = targets != IGNORED
                parts.append((wanted * here).sum(1) / here.sum(1))
        strangest = torch.cat(parts).argsort()[: round(self.drop * len(said))]
        keep = torch.ones(len(said), dtype=torch.bool)
        keep[strangest] = False
        return keep.nonzero().flatten()
