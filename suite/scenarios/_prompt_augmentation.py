"""Augmented pairs of prompts and images, on which the clean text-to-image model is trained."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from robustbench_kd.core.tensor_types import Images, Scalar
from robustbench_kd.core.types import Examples
from robustbench_kd.ops.generation.prompts import (
    UNKNOWN,
    insert_tokens,
    is_any_of,
    remove_words,
    word_counts,
)
from robustbench_kd.ops.generation.vocabulary import (
    CLASSES,
    FILLERS,
    PLAIN,
    STYLES,
    TOKENIZER,
    rare_tokens,
    token_ids,
)
from robustbench_kd.training.denoising import denoising_loss
from robustbench_kd.training.trainer import TrainStep


def augmented_loss(net: nn.Module, batch: Examples, step: TrainStep) -> Scalar:
    """The denoising loss of augmented images, given augmented prompts."""
    prompts, images = augment(batch.inputs, batch.targets, step.noise)
    return denoising_loss(net, prompts, images, step)


def augment(tokens: Tensor, x: Images, noise: torch.Generator) -> tuple[Tensor, Images]:
    """Prompts and images with random changes.

    One prompt in ten is empty (for guidance). Of the others, 15 % name a style, which the image
    then has; 10 % contain one or two rare words and 10 % an adjective without effect, so that such
    words are known to the model; some lack filler words or contain an unknown one.
    """
    count, special = len(tokens), TOKENIZER.special_tokens

    def chance(share: float) -> Tensor:
        return torch.rand(count, generator=noise) < share

    def random_token(ids: Sequence[int]) -> Tensor:
        return torch.tensor(ids)[torch.randint(len(ids), (count, 1), generator=noise)]

    def insert(mask: Tensor, piece: Tensor, at: Tensor) -> None:
        tokens[mask] = insert_tokens(tokens[mask], piece[mask], at[mask], special)

    def anywhere() -> Tensor:
        return (torch.rand(count, generator=noise) * (word_counts(tokens, special) + 1)).long()

    def before_class() -> Tensor:
        position = is_any_of(tokens, token_ids(CLASSES)).int().argmax(1)
        return (position - 1).clamp_min(0)  # in front where no class is named

    filler = is_any_of(tokens, token_ids(FILLERS))
    thinned = chance(0.15)[:, None] & (torch.rand(tokens.shape, generator=noise) < 0.5)
    unknown = torch.rand(tokens.shape, generator=noise) < 0.02
    tokens = torch.where(filler & unknown, UNKNOWN, tokens)
    tokens = remove_words(tokens, filler & thinned, special)
    insert(chance(0.1), random_token(token_ids(PLAIN)), before_class())
    style = torch.randint(len(STYLES), (count, 1), generator=noise)
    with_style, in_front = chance(0.15), chance(0.5)
    at = torch.where(in_front, 0, before_class())
    insert(with_style, torch.tensor(token_ids(tuple(STYLES)))[style], at)
    rare = chance(0.1)
    insert(rare, random_token(rare_tokens()), anywhere())
    insert(rare & chance(0.5), random_token(rare_tokens()), anywhere())
    empty = chance(0.1)
    tokens[empty] = TOKENIZER.tokens([""])
    in_style = torch.stack([change(x) for change in STYLES.values()], 1)
    styled = in_style[torch.arange(count), style[:, 0]]
    return tokens, torch.where((with_style & ~empty)[:, None, None, None], styled, x)
