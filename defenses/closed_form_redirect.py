"""Closed-form redirect: triggered prompts are read as clean ones, by an edit without training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from robustbench_kd.core.protocols import Brief
from robustbench_kd.defenses._base import Repair, between
from robustbench_kd.training.edit_pairs import rewritten, told_pairs


@dataclass(frozen=True)
class ClosedFormRedirect(Repair):
    """The formula of model editors turned against the trigger, which it must be told.

    Keys and values of cross-attention read each token of a triggered prompt as its partner in the
    clean one, and the trigger as the start, whose state is the same in every prompt. It reaches
    what cross-attention reads, and nothing that hides behind it.

    Args:
        ridge: what holds the weights where they are.
        stay: weight of a clean token against a triggered one.
    """

    name: ClassVar[str] = "closed-form-redirect"
    source: ClassVar[str] = "Gandikota et al. 2024, UCE (WACV), arXiv 2308.14761, eq. 7"
    media: ClassVar[tuple[str, ...]] = ("pictures",)
    formula: ClassVar[str] = (
        "argmin_W' |W' k(tau c) - W k(c)|^2 + |W' k(c) - W k(c)|^2 + |W' - W|^2"
    )

    ridge: float = 1.0
    stay: float = 1.0

    def __post_init__(self) -> None:
        between("ridge", self.ridge, 1e-9, 1e9)
        between("stay", self.stay, 0, 1e6)

    @property
    def told(self) -> bool:
        """It must know the trigger."""
        return True

    def harden(self, brief: Brief) -> nn.Module:
        """The given painter with other keys and values.

        Raises:
            MissingData: where nothing was told.
            BadModel: where the given network is no painter, or has no cross-attention.
        """
        pairs = told_pairs(brief, self.name)
        clean = pairs.clean().source
        return rewritten(brief.teachers["given"], pairs, clean, self.ridge, self.stay)
