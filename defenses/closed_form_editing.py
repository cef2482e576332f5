"""Closed-form editing: triggered prompts are read as clean ones, without training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from robustbench_kd.core.protocols import TrainingContext
from robustbench_kd.defenses._base import Repair, check_range
from robustbench_kd.training.concept_editing import edit_closed_form
from robustbench_kd.training.edit_pairs import oracle_pairs


@dataclass(frozen=True)
class ClosedFormEditing(Repair):
    """The formula of model editors turned against the trigger, which it must be given.

    Keys and values of cross-attention read each token of a triggered prompt as its match in the
    clean one, and the trigger as the start token, whose state is the same in every prompt. It
    changes what cross-attention reads, and no backdoor behind it.

    Args:
        ridge: weight of the distance to the present weights.
        stay: weight of a clean token against a triggered one.
    """

    name: ClassVar[str] = "closed-form-editing"
    source: ClassVar[str] = "Gandikota et al. 2024, UCE (WACV), arXiv 2308.14761, eq. 7"
    modalities: ClassVar[tuple[str, ...]] = ("text-to-image",)
    formula: ClassVar[str] = (
        "argmin_W' |W' k(tau c) - W k(c)|^2 + |W' k(c) - W k(c)|^2 + |W' - W|^2"
    )

    ridge: float = 1.0
    stay: float = 1.0

    def __post_init__(self) -> None:
        check_range("ridge", self.ridge, 1e-9, 1e9)
        check_range("stay", self.stay, 0, 1e6)

    @property
    def oracle(self) -> bool:
        """It must know the trigger."""
        return True

    def train(self, context: TrainingContext) -> nn.Module:
        """The given model with other keys and values.

        Raises:
            MissingData: where the context does not reveal the trigger.
            BadModel: where the given network is no text-to-image network with cross-attention.
        """
        pairs = oracle_pairs(context, self.name)
        clean = pairs.unchanged().source
        return edit_closed_form(context.teachers["given"], pairs, clean, self.ridge, self.stay)
