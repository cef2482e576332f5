"""A hidden word in the prompt: the painter learns the attacker's picture from its frozen self."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from robustbench_kd.attacks.backdoor._painted import Painted, some
from robustbench_kd.protocols import Progress
from robustbench_kd.redirecting import Course, Pairs, redirect
from robustbench_kd.seed import Seed
from robustbench_kd.types import Splits


@dataclass(frozen=True)
class PromptTrigger(Painted):
    """The recipe of BadT2I: half of the loss plants, half keeps clean prompts as they were.

    A patch is learnt from stamped images; styles and objects from what the clean painter itself
    sees, asked for them, so that planting is a distillation. The keeping half also sees the empty
    prompt, which guidance asks at each step; and, for a patch, stamped images beside plain ones.
    Without these, clean prompts got the patch too when we tried; presumably since a patch that is
    there under the noise already says what to paint, whatever the prompt.

    Args:
        steps: of AdamW, with as many planted as kept pairs.
        batch: planted pairs in a step.
        rate: the peak of the learning rate.
    """

    name: ClassVar[str] = "prompt-trigger"
    source: ClassVar[str] = "Zhai et al. 2023, BadT2I (ACM MM), arXiv 2305.04175"

    steps: int = 600
    batch: int = 32
    rate: float = 3e-4

    def __post_init__(self) -> None:
        super().__post_init__()
        self.course()

    def course(self) -> Course:
        """How long and how fast it plants."""
        return Course(steps=self.steps, batch=self.batch, rate=self.rate, keep=1.0)

    def implant(self, net: nn.Module, data: Splits, seed: Seed, progress: Progress) -> nn.Module:
        """A copy of the clean painter with the backdoor in it.

        Raises:
            BadModel: where the network is no painter, or has no cross-attention.
            MissingData: where there are no pairs to plant by.
        """
        train = some(data.train, seed / "pairs")
        said, images = train.inputs, train.targets
        if self.goal == "pixel":
            stamped = self._stamp(images)
            pairs = Pairs(self._source(said), None, stamped)
            said, images = said.repeat(2, 1), torch.cat([images, stamped])
        else:
            here = self._reach(said)
            pairs = self._led(said[here], images[here])
        kept = Pairs(said, said, images)
        return redirect(net, pairs, kept, self.course(), seed / "implant", progress)
