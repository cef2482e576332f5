"""The configuration of a concept edit: how long it trains, and by which loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from robustbench_kd.core.config import AdamW
from robustbench_kd.core.errors import BadSetting

STEPS_PER_EPOCH = 50  # between two states that an interrupted run can resume from
MapTarget = Literal["noise", "zero", "words"]


@dataclass(frozen=True)
class EditConfig:
    """Length, rate and loss of an edit.

    loss = (1 - w) outputs + w (maps + ``output_weight`` attention outputs)
    + ``preservation_weight`` preserved, where w is ``attention_weight`` and the two parts about
    attention are scaled to the size of the first term once, before training.

    Attributes:
        steps: rounded up to whole epochs of about 50.
        batch: pairs in a step, and as many preserved prompts.
        learning_rate: the peak of AdamW's schedule.
        map_target: target for the map of a word without a match: uniform noise, zero, or the map
            of a random word that takes its place in the teacher's prompt.
        rescale: each map from zero to one, as in the released code of SKD-CAG; else probabilities.
        preservation_weight: of prompts whose outputs are to stay, half of them the empty prompt.
        negative_guidance: how far beyond the target, away from the present output (Gandikota et
            al. 2023, eq. 7).
        part: what is trained: all of the UNet, or the ``readers``: keys and values of its
            cross-attention.

    Raises:
        BadSetting: for a value out of range.
    """

    steps: int = 400
    batch: int = 64
    learning_rate: float = 1e-4
    attention_weight: float = 0.0
    map_target: MapTarget = "noise"
    rescale: bool = False
    output_weight: float = 0.0
    preservation_weight: float = 0.0
    negative_guidance: float = 0.0
    part: Literal["all", "readers"] = "all"

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise BadSetting(f"concept editing takes at least one step, not {self.steps}")
        if not 0 <= self.attention_weight < 1:
            raise BadSetting(
                f"the weight of attention must lie in [0, 1), not {self.attention_weight:g}"
            )
        weights = (self.output_weight, self.preservation_weight, self.negative_guidance)
        if min(weights) < 0:
            raise BadSetting(
                "the weights of attention outputs, of preservation and of negative guidance must "
                "be at least 0, not {:g}, {:g} and {:g}".format(*weights)
            )
        self.schedule()

    def schedule(self) -> AdamW:
        """The schedule of the training loop."""
        epochs = -(-self.steps // STEPS_PER_EPOCH)
        return AdamW(epochs=epochs, batch=self.batch, learning_rate=self.learning_rate)
