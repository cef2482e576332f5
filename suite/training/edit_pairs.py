"""What else redirects: the closed form, the forgetting of a class, and who is told what."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from robustbench_kd.core.errors import BadSetting, MissingData
from robustbench_kd.core.protocols import Brief
from robustbench_kd.core.seed import Seed
from robustbench_kd.models.text_to_image import denoiser, paints
from robustbench_kd.ops.generation.attention_alignment import stand_ins
from robustbench_kd.ops.generation.model_editing import edited
from robustbench_kd.training.concept_editing import Pairs


def rewritten(
    net: nn.Module, pairs: Pairs, kept: Tensor, ridge: float = 1.0, stay: float = 1.0
) -> nn.Module:
    """The same in closed form: a copy whose keys and values read the source as the destination.

    Args:
        kept: prompts that are to be read as before.
        ridge: what holds the weights where they are.
        stay: weight of a kept token against one that is led elsewhere.

    Raises:
        BadModel: where the network is no painter, or has no cross-attention.
        BadSetting: where the destination is no prompt.
    """
    if pairs.destination is None:
        raise BadSetting("a closed form leads prompts to prompts; of images it knows nothing")
    student = copy.deepcopy(net).eval()
    painter = paints(student)
    with torch.no_grad():
        keys, goals = painter.encode(pairs.source), painter.encode(pairs.destination)
        index = stand_ins(pairs.source, pairs.destination, painter.words.frame)
        goals = goals.gather(1, index[:, :, None].expand_as(goals)).flatten(0, 1)
        hold = stay**0.5 * painter.encode(kept).flatten(0, 1)
        for layers in painter.readers:
            for layer in layers:
                values = goals @ layer.weight.T
                layer.weight.copy_(edited(layer.weight, keys.flatten(0, 1), values, hold, ridge))
    return student


def forgetting(prompts: Tensor, lost: int, instead: int) -> tuple[Pairs, Pairs]:
    """Class forgetting as redirecting: prompts of one class to another's; the rest is to stay.

    The task of Chen et al. 2025 (Score Forgetting Distillation), by its override class.

    Raises:
        MissingData: where no prompt names the class, or all of them do.
    """
    named = (prompts == lost).any(1)
    if bool(named.all()) or not bool(named.any()):
        raise MissingData(
            "to forget a class takes prompts that name it and prompts that do not, and there are "
            f"{int(named.sum())} of {len(prompts)} that do"
        )
    said, rest = prompts[named], prompts[~named]
    return Pairs(said, torch.where(said == lost, instead, said)), Pairs(rest, rest)


def told_pairs(brief: Brief, name: str) -> Pairs:
    """What an oracle knows: prompts with the trigger, each led to the same prompt without it.

    Raises:
        MissingData: where nothing was told.
    """
    if brief.told is None or len(brief.told) == 0:
        raise MissingData(f"{name} must be told the trigger, and this brief tells nothing of it")
    return Pairs(brief.told.inputs, brief.told.targets)


def painted(net: nn.Module, pairs: Pairs, draws: int, seed: Seed, steps: int = 10) -> Pairs:
    """The pairs with images that the painter itself makes of their destinations, some to each.

    So that latents at small steps are of its own kind, where nobody hands in images.
    """
    if pairs.destination is None:
        raise BadSetting("a painter is asked by prompts, and these pairs lead to none")
    asked = denoiser(copy.deepcopy(net), steps=steps, seed=seed)  # a copy, since it is frozen
    source, destination = (p.repeat(draws, 1) for p in (pairs.source, pairs.destination))
    return Pairs(source, destination, asked.answer(destination))
