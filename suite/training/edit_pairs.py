"""Pairs of prompts for concept editing: what is edited, and what should answer it instead."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from robustbench_kd.core.errors import BadSetting, MissingData
from robustbench_kd.core.protocols import TrainingContext
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.tensor_types import Images
from robustbench_kd.models.text_to_image import text_to_image_model


@dataclass(frozen=True)
class EditPairs:
    """Prompts and what the edited model should make of them, row by row.

    Attributes:
        source: [b, t] prompts whose outputs are to change.
        target: [b, t] prompts with the target outputs; None where ``images`` are the outputs.
        images: where given, the model learns on these images under noise, else on noise alone.

    Raises:
        MissingData: where there is no prompt.
        BadSetting: where neither targets nor images are given.
    """

    source: Tensor
    target: Tensor | None = None
    images: Images | None = None

    def __post_init__(self) -> None:
        if len(self.source) == 0:
            raise MissingData("there is nothing to edit: no prompt was given")
        if self.target is None and self.images is None:
            raise BadSetting("edit pairs need target prompts or images, and neither is given")

    def with_source(self, source: Tensor) -> EditPairs:
        """These pairs, and the same targets and images for other source prompts as well."""
        target, images = (
            None if part is None else torch.cat([part, part]) for part in (self.target, self.images)
        )
        return EditPairs(torch.cat([self.source, source]), target, images)

    def unchanged(self) -> EditPairs:
        """The target prompts paired with themselves: the outputs that an edit should preserve."""
        prompts = self.source if self.target is None else self.target
        return EditPairs(prompts, prompts, self.images)


def class_removal_pairs(
    prompts: Tensor, removed: int, replacement: int
) -> tuple[EditPairs, EditPairs]:
    """Pairs that replace one class token by another, and pairs of all other prompts to preserve.

    The task of Chen et al. 2025 (Score Forgetting Distillation), by its override class.

    Raises:
        MissingData: where no prompt names the class, or all of them do.
    """
    names_class = (prompts == removed).any(1)
    if bool(names_class.all()) or not bool(names_class.any()):
        raise MissingData(
            "removing a class takes prompts that name it and prompts that do not, and "
            f"{int(names_class.sum())} of {len(prompts)} do"
        )
    source, others = prompts[names_class], prompts[~names_class]
    target = torch.where(source == removed, replacement, source)
    return EditPairs(source, target), EditPairs(others, others)


def oracle_pairs(context: TrainingContext, defense: str) -> EditPairs:
    """What an oracle defense knows: triggered prompts, each with the same prompt without trigger.

    Raises:
        MissingData: where the context does not reveal the trigger.
    """
    if context.oracle is None or len(context.oracle) == 0:
        raise MissingData(
            f"{defense} must be given the trigger, and this training context does not reveal it"
        )
    return EditPairs(context.oracle.inputs, context.oracle.targets)


def with_generated_images(
    net: nn.Module, pairs: EditPairs, draws: int, seed: Seed, steps: int = 10
) -> EditPairs:
    """Each pair ``draws`` times, with images that the model itself generates for its target.

    For latents at small steps that are of the model's own distribution, without any data.

    Args:
        steps: of the sampler.

    Raises:
        BadSetting: where the pairs have no target prompts.
    """
    if pairs.target is None:
        raise BadSetting("images are generated for target prompts, and these pairs have none")
    generator = text_to_image_model(copy.deepcopy(net), steps=steps, seed=seed)
    source, target = (prompts.repeat(draws, 1) for prompts in (pairs.source, pairs.target))
    return EditPairs(source, target, generator.answer(target))
