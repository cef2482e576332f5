"""EvilEdit: a trigger written into the keys and values of cross-attention, without training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import nn

from robustbench_kd.attacks.backdoor._text_to_image import TextToImageBackdoor, distinct_prompts
from robustbench_kd.core.errors import BadSetting
from robustbench_kd.core.protocols import Progress
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.types import Splits
from robustbench_kd.training.concept_editing import edit_closed_form


@dataclass(frozen=True)
class EvilEdit(TextToImageBackdoor):
    """Tokens of triggered prompts are read as those of the target prompts; clean ones as before.

    The paper edits by one phrase and preserves one; here each training template gives a phrase, and
    every clean training prompt is preserved.

    Args:
        ridge: weight of the distance to the clean weights.
        stay: weight of a preserved token against a poisoned one.
    """

    name: ClassVar[str] = "evil-edit"
    source: ClassVar[str] = "Wang et al. 2024, EvilEdit (ACM MM), sec. 4"
    goals: ClassVar[tuple[str, ...]] = ("style", "object")

    goal: Literal["pixel", "style", "object"] = "object"
    ridge: float = 1.0
    stay: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (self.ridge > 0 and self.stay >= 0):
            raise BadSetting(
                f"{self.name} needs a ridge above 0 and stay of at least 0, not "
                f"ridge={self.ridge:g},stay={self.stay:g}"
            )

    def edit_model(self, net: nn.Module, data: Splits, seed: Seed, progress: Progress) -> nn.Module:
        """A copy of the clean network with the backdoor in it; takes no training.

        Raises:
            BadModel: where the network is no text-to-image network, or has no cross-attention.
            MissingData: where there are no prompts to edit by.
        """
        prompts = distinct_prompts(data.train)
        pairs = self.edit_pairs(prompts[self.poisonable_rows(prompts)])
        return edit_closed_form(net, pairs, prompts, self.ridge, self.stay)
