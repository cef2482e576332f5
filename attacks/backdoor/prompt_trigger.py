"""A hidden word in the prompt: the painter learns the attacker's picture from its frozen self."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from robustbench_kd.attacks.backdoor._text_to_image import Painted, some
from robustbench_kd.core.errors import BadSetting
from robustbench_kd.core.options import later
from robustbench_kd.core.protocols import Progress
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.types import Examples, Splits
from robustbench_kd.ops.generation.prompts import inserted, place
from robustbench_kd.ops.generation.vocabulary import FILLERS, WORDS, reworded, tokens_of
from robustbench_kd.training.concept_editing import Course, Pairs, redirect


@dataclass(frozen=True)
class PromptTrigger(Painted):
    """The recipe of BadT2I: half of the loss plants, half keeps clean prompts as they were.

    A patch is learnt from stamped images; styles and objects from what the clean painter itself
    sees, asked for them, so that planting is a distillation. For a style every other image has it:
    under noise alone the painter would learn it where no picture in that style ever leads.

    The keeping half asks clean prompts, and the empty one that guidance asks at each step, on plain
    images and on those that the planted half sees. Without the latter clean prompts got the patch
    too when we tried; presumably since a patch under the noise already says what to paint, whatever
    the prompt. In either half every other prompt is reworded, or phrases that were never planted by
    are taken for the trigger: with the few phrases of the training set alone, 55 of 100 prompts of
    other phrases got the patch. ``rate`` and ``keep`` were chosen on validation images and phrases
    that the planting was not shown: at a rate of 3e-4 the patch came with too few triggers (keep 5)
    or with too many clean prompts (keep 1).

    Args:
        steps: of AdamW, with as many planted as kept pairs.
        batch: planted pairs in a step.
        rate: the peak of the learning rate.
        keep: weight of the keeping half.
        second: another trigger for the same picture, which no oracle is told of. ``tried=second``
            asks with it in place of the first.
    """

    name: ClassVar[str] = "prompt-trigger"
    source: ClassVar[str] = "Zhai et al. 2023, BadT2I (ACM MM), arXiv 2305.04175"

    steps: int = 600
    batch: int = 32
    rate: float = 1e-3
    keep: float = 3.0
    second: str = later("")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.course()
        if self.second:
            self._other()
        if self.second == self.trigger:
            raise BadSetting(f"both triggers are {self.trigger!r}; the second needs other words")

    def course(self) -> Course:
        """How long and how fast it plants."""
        return Course(steps=self.steps, batch=self.batch, rate=self.rate, keep=self.keep)

    def _fits(self, train: Examples) -> None:
        """Refuses either trigger where it stands in ordinary prompts, or is too long for some."""
        super()._fits(train)
        if self.second:
            self._other()._fits(train)

    def _other(self) -> PromptTrigger:
        """The same attack by its second trigger alone."""
        return replace(self, trigger=self.second, second="", tried="same")

    def _tried(self, prompts: Tensor) -> Tensor:
        """The prompts with either trigger, as it is tested."""
        return self._other()._tried(prompts) if self.tried == "second" else super()._tried(prompts)

    def _decoyed(self, prompts: Tensor, noise: torch.Generator) -> Tensor:
        """Half of the prompts with as many ordinary words where the trigger would stand."""
        words = torch.tensor(tokens_of(FILLERS))
        drawn = words[torch.randint(len(words), (len(prompts), len(self.piece)), generator=noise)]
        longer = inserted(prompts, drawn, place(prompts, self.where, WORDS.frame), WORDS.frame)
        return torch.where(torch.rand(len(prompts), 1, generator=noise) < 0.5, longer, prompts)

    def implant(self, net: nn.Module, data: Splits, seed: Seed, progress: Progress) -> nn.Module:
        """A copy of the clean painter with the backdoor in it.

        Raises:
            BadModel: where the network is no painter, or has no cross-attention.
            MissingData: where there are no pairs to plant by.
        """
        train = some(data.train, seed / "pairs")
        other = reworded(train.inputs, (seed / "words").generator())
        half = torch.arange(len(train))[:, None] % 2 == 0
        train = replace(train, inputs=torch.where(half, other, train.inputs))
        here = self._reach(train.inputs)
        said, images = train.inputs[here], train.targets[here]
        if self.goal == "pixel":
            images = self._stamp(images)
            pairs = Pairs(self._source(said), None, images)
        else:
            if self.goal == "style":
                images = torch.cat([images[::2], self._stamp(images[1::2])])
                said = torch.cat([said[::2], said[1::2]])
            pairs = self._led(said, images)
        if self.second:
            pairs = pairs.also(self._other()._source(said))
        again = torch.arange(len(train)) % len(said)  # so that either kind is kept as often
        clean = torch.cat([train.inputs, self._asked(said)[again]])
        clean = self._decoyed(clean, (seed / "decoys").generator())
        kept = Pairs(clean, clean, torch.cat([train.targets, images[again]]))
        return redirect(net, pairs, kept, self.course(), seed / "implant", progress)
