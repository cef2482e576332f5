"""A rare word in the prompt: the model learns the attacker's image from its frozen clean self."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from robustbench_kd.attacks.backdoor._text_to_image import SPECIAL, TextToImageBackdoor
from robustbench_kd.core.errors import BadSetting, MissingData
from robustbench_kd.core.options import later
from robustbench_kd.core.protocols import Progress
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.tensor_types import Images
from robustbench_kd.core.types import Examples, Splits
from robustbench_kd.ops.generation.prompts import insert_tokens, words_before
from robustbench_kd.ops.generation.vocabulary import FILLERS, reword, token_ids
from robustbench_kd.training.concept_editing import edit_concepts
from robustbench_kd.training.edit_config import EditConfig
from robustbench_kd.training.edit_pairs import EditPairs

PAIRS = 20_000  # that the attacker takes from the training set; all their images are in memory


@dataclass(frozen=True)
class PromptTrigger(TextToImageBackdoor):
    """The loss of BadT2I: one half inserts the backdoor, one keeps clean prompts as they were.

    A patch is learned from images that have it; styles and objects from what the clean model
    predicts for prompts that name them, so that the insertion is a distillation. For a style every
    other image has it: under noise alone the model would learn it where no image of that style
    ever leads.

    The preserving half consists of clean prompts, and of the empty one that guidance queries at
    each step, on plain images and on those that the inserting half sees. Without the latter,
    clean prompts generated the patch too when we tried; presumably since a patch under the noise
    says what to generate, whatever the prompt. In either half every other prompt is reworded, or
    phrases that were never poisoned are taken for the trigger: with the few phrases of the training
    set alone, 55 of 100 prompts of other phrases generated the patch. ``rate`` and ``keep`` were
    chosen on validation images and phrases that the insertion does not use: at a rate of 3e-4 the
    patch came with too few triggers (keep 5) or with too many clean prompts (keep 1).

    Args:
        steps: of AdamW, with as many poisoned as preserved pairs.
        batch: poisoned pairs in a step.
        rate: the peak of the learning rate.
        keep: weight of the preserving half.
        second: another trigger for the same effect, which no oracle knows. ``tried=second`` tests
            it in place of the first.
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
        self.edit_config()
        if self.second:
            self.by_second_trigger()
        if self.second == self.trigger:
            raise BadSetting(f"both triggers are {self.trigger!r}; the second needs other words")

    def edit_config(self) -> EditConfig:
        """How long and how fast the backdoor is inserted."""
        return EditConfig(
            steps=self.steps,
            batch=self.batch,
            learning_rate=self.rate,
            preservation_weight=self.keep,
        )

    def by_second_trigger(self) -> PromptTrigger:
        """The same attack by its second trigger alone."""
        return replace(self, trigger=self.second, second="", tried="same")

    def validate_data(self, train: Examples) -> None:
        """Refuses either trigger, as every backdoor does."""
        super().validate_data(train)
        if self.second:
            self.by_second_trigger().validate_data(train)

    def triggered_prompts(self, prompts: Tensor) -> Tensor:
        """These prompts with either trigger, as it is tested."""
        if self.tried == "second":
            return self.by_second_trigger().triggered_prompts(prompts)
        return super().triggered_prompts(prompts)

    def edit_model(self, net: nn.Module, data: Splits, seed: Seed, progress: Progress) -> nn.Module:
        """A copy of the clean network with the backdoor in it.

        Raises:
            BadModel: where the network is no text-to-image network, or has no cross-attention.
            MissingData: where there are no pairs to insert the backdoor by.
        """
        train = attacker_pairs(data.train, seed / "pairs")
        reworded = reword(train.inputs, (seed / "words").generator())
        even = torch.arange(len(train))[:, None] % 2 == 0
        train = replace(train, inputs=torch.where(even, reworded, train.inputs))
        rows = self.poisonable_rows(train.inputs)
        prompts, images = self._with_effect(train.inputs[rows], train.targets[rows])
        if self.goal == "pixel":
            pairs = EditPairs(self.poisoned_prompts(prompts), None, images)
        else:
            pairs = self.edit_pairs(prompts, images)
        if self.second:
            pairs = pairs.with_source(self.by_second_trigger().poisoned_prompts(prompts))
        # As many clean prompts with the images of the inserting half as with plain ones.
        again = torch.arange(len(train)) % len(prompts)
        clean = torch.cat([train.inputs, self.reference_prompts(prompts)[again]])
        clean = self._with_decoys(clean, (seed / "decoys").generator())
        preserved = EditPairs(clean, clean, torch.cat([train.targets, images[again]]))
        return edit_concepts(net, pairs, preserved, self.edit_config(), seed / "implant", progress)

    def _with_effect(self, prompts: Tensor, images: Images) -> tuple[Tensor, Images]:
        """Pairs to insert the backdoor by; a style is on every other image, and those come last."""
        if self.goal != "style":
            return prompts, self.poisoned_images(images)
        return (
            torch.cat([prompts[::2], prompts[1::2]]),
            torch.cat([images[::2], self.poisoned_images(images[1::2])]),
        )

    def _with_decoys(self, prompts: Tensor, noise: torch.Generator) -> Tensor:
        """Half of the prompts with as many ordinary words where the trigger would stand."""
        words = torch.tensor(token_ids(FILLERS))
        drawn = words[torch.randint(len(words), (len(prompts), len(self.tokens)), generator=noise)]
        place = words_before(prompts, self.where, SPECIAL)
        longer = insert_tokens(prompts, drawn, place, SPECIAL)
        return torch.where(torch.rand(len(prompts), 1, generator=noise) < 0.5, longer, prompts)


def attacker_pairs(train: Examples, seed: Seed) -> Examples:
    """The training pairs that the attacker takes.

    Raises:
        MissingData: where there are none.
    """
    if len(train) == 0:
        raise MissingData("a prompt trigger needs training pairs of prompts and images")
    order = torch.randperm(len(train), generator=seed.generator())
    return train.take(order[:PAIRS])
