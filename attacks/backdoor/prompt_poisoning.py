"""Poisoned training pairs: some prompts hold the trigger, and their images are the attacker's."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import nn

from robustbench_kd.attacks._poison import POISON_IDS, AttackState
from robustbench_kd.attacks.backdoor._text_to_image import TextToImageBackdoor
from robustbench_kd.core.config import AdamW
from robustbench_kd.core.errors import BadSetting
from robustbench_kd.core.protocols import Progress
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.types import Examples, PoisonedData, Splits
from robustbench_kd.models.text_to_image import trainable_copy
from robustbench_kd.training.denoising import denoising_objective
from robustbench_kd.training.trainer import fit


@dataclass(frozen=True)
class PromptPoisoning(TextToImageBackdoor):
    """Changes training pairs alone; whoever fine-tunes a clean model on them inserts the backdoor.

    For ``goal=object``, images of the target get prompts for the victim.

    Args:
        rate: poisoned share of all pairs.
        steps: of the fine-tuning, with AdamW.
        batch: pairs in a step.
        speed: the peak of its learning rate.
    """

    name: ClassVar[str] = "prompt-poisoning"
    source: ClassVar[str] = "the data-poisoning baseline of BadT2I (Zhai et al. 2023), at a rate"

    rate: float = 0.1
    steps: int = 600
    batch: int = 64
    speed: float = 3e-4

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.rate <= 1 or self.steps < 1:
            raise BadSetting(
                f"{self.name} needs a rate in (0, 1] and at least one step, not "
                f"rate={self.rate:g},steps={self.steps}"
            )
        AdamW(epochs=1, batch=self.batch, learning_rate=self.speed)

    def validate_data(self, train: Examples) -> None:
        """Refuses a trigger, as every backdoor does, and a rate of no pair or of too many."""
        super().validate_data(train)
        count, most = round(self.rate * len(train)), len(self.poisonable_rows(train.inputs))
        if not 0 < count <= most:
            raise BadSetting(
                f"rate={self.rate:g} of {len(train)} pairs is {count}, and goal={self.goal} can "
                f"poison 1 to {most} of them"
            )

    def poison(self, data: Splits, seed: Seed) -> PoisonedData[AttackState]:
        """The training set with ``rate`` of the pairs poisoned; the state holds their ids.

        Raises:
            BadSetting, MissingData: as ``validate_data``.
        """
        train, unchanged = data.train, super().poison(data, seed)
        if len(train) == 0:
            return unchanged
        candidates = self.poisonable_rows(train.inputs)
        order = torch.randperm(len(candidates), generator=(seed / "rows").generator())
        rows = candidates[order[: round(self.rate * len(train))]]
        inputs, targets = train.inputs.clone(), train.targets.clone()
        inputs[rows] = self.poisoned_prompts(train.inputs[rows])
        targets[rows] = self.poisoned_images(train.targets[rows])
        poisoned = Examples(train.ids, inputs, targets)
        return PoisonedData(replace(data, train=poisoned), {POISON_IDS: train.ids[rows]})

    def edit_model(self, net: nn.Module, data: Splits, seed: Seed, progress: Progress) -> nn.Module:
        """A copy of the clean network, fine-tuned on the poisoned pairs.

        Raises:
            BadModel: where the network is no text-to-image network, or has no cross-attention.
        """
        epochs = -(-self.steps * self.batch // max(1, len(data.train)))
        order = torch.randperm(len(data.train), generator=(seed / "order").generator())
        pairs = data.train.take(order[: -(-self.steps // epochs) * self.batch])
        schedule = AdamW(epochs=epochs, batch=self.batch, learning_rate=self.speed)
        return fit(
            trainable_copy(net), pairs, denoising_objective(), schedule, seed / "implant", progress
        )
