"""The loss of concept editing: outputs, attention maps and preserved prompts.

A student's output for a source prompt is brought to a frozen teacher's for the target prompt. The
same loss inserts backdoors by distillation, removes them with or without guidance by attention
maps, guides away from a concept, and removes a class.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from robustbench_kd.core.errors import BadSetting
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.tensor_types import Images, Scalar
from robustbench_kd.models.text_to_image import TextToImageNetwork, as_text_to_image
from robustbench_kd.models.text_to_image_unet import CrossAttentionOutput
from robustbench_kd.ops.generation.attention_alignment import (
    UNMATCHED,
    map_distance,
    match_words,
    output_distance,
    rescale_maps,
)
from robustbench_kd.ops.generation.diffusion import token_maps
from robustbench_kd.ops.generation.vocabulary import FILLERS, PLAIN
from robustbench_kd.training.edit_config import EditConfig
from robustbench_kd.training.edit_pairs import EditPairs


class LossTerms(NamedTuple):
    """The terms of the loss, unweighted; zero where the configuration leaves one out."""

    outputs: Scalar
    maps: Scalar
    attention_outputs: Scalar
    preserved: Scalar


def balance_factors(terms: LossTerms) -> tuple[float, float]:
    """What scales maps and attention outputs to the size of the first term."""

    def factor(term: Scalar) -> float:
        return float(terms.outputs / term) if float(term) > 0 else 0.0

    return factor(terms.maps), factor(terms.attention_outputs)


def weighted_sum(terms: LossTerms, config: EditConfig, factors: tuple[float, float]) -> Scalar:
    """The loss. Without weight on attention it is self-distillation, bit for bit."""
    loss, w = terms.outputs, config.attention_weight
    if w:
        outputs = config.output_weight * factors[1] * terms.attention_outputs
        loss = (1 - w) * loss + w * (factors[0] * terms.maps + outputs)
    if config.preservation_weight:
        loss = loss + config.preservation_weight * terms.preserved
    return loss


def loss_terms(
    teacher: nn.Module, pairs: EditPairs, preserved: EditPairs | None, config: EditConfig
) -> Callable[[nn.Module, int, Seed], LossTerms]:
    """The terms of the loss as a function of the student, the batch size and the seed of its draws.

    Each kind of draw has a seed of its own, so that configurations with and without a term see the
    same prompts and the same noise.

    Raises:
        BadSetting: where a term has a weight and lacks the prompts it is computed from.
    """
    frozen = as_text_to_image(teacher)
    if config.preservation_weight and preserved is None:
        raise BadSetting("preservation has a weight, and no prompts to preserve are given")
    matches = None
    if config.attention_weight:
        if pairs.target is None:
            raise BadSetting(
                "attention maps are matched to those of target prompts; images have none"
            )
        matches = match_words(pairs.source, pairs.target, frozen.tokenizer.special_tokens)
    fillers = torch.tensor(sorted(set(frozen.tokenizer.ids(" ".join((*FILLERS, *PLAIN))))))

    def terms(student: nn.Module, count: int, seed: Seed) -> LossTerms:
        net = as_text_to_image(student)
        rows = torch.randint(len(pairs.source), (count,), generator=(seed / "rows").generator())
        source = pairs.source[rows]
        target = None if pairs.target is None else pairs.target[rows]
        match = None if matches is None else matches[rows]
        if match is not None and config.map_target == "words":
            target, match = substitute_unmatched(source, match, fillers, seed / "words")
        z, t, noise = _noisy_latents(frozen, pairs.images, rows, seed / "latents")
        goal, reference = noise, tuple[CrossAttentionOutput, ...]()
        with torch.no_grad():
            states = frozen.encode(source)
            if target is not None:
                goal, reference = _predict(frozen, z, t, frozen.encode(target), config)
            if config.negative_guidance:
                goal = goal - config.negative_guidance * (frozen(z, t, states) - goal)
        output, attention = _predict(net, z, t, states, config)
        maps = attention_outputs = preservation = output.new_zeros(())
        if match is not None:
            aim = _map_target(config, source, frozen.latent[-1], seed / "aim")
            student_maps, teacher_maps = (_maps(a, aim, config) for a in (attention, reference))
            maps = map_distance(student_maps, teacher_maps, match, aim).mean()
            attention_outputs = output_distance(
                [layer.output for layer in attention], [layer.output for layer in reference]
            )
        if config.preservation_weight and preserved is not None:
            preservation = _preserved_term(net, frozen, preserved, count, seed / "keep")
        return LossTerms((output - goal).square().mean(), maps, attention_outputs, preservation)

    return terms


def substitute_unmatched(
    prompts: Tensor, matches: Tensor, words: Tensor, seed: Seed
) -> tuple[Tensor, Tensor]:
    """The prompts with random words in place of unmatched ones; each word then matches itself."""
    choice = torch.randint(len(words), prompts.shape, generator=seed.generator())
    positions = torch.arange(prompts.shape[1]).expand_as(prompts)
    unmatched = matches == UNMATCHED
    is_word = unmatched | (matches > 0)
    return torch.where(unmatched, words[choice], prompts), torch.where(is_word, positions, matches)


def _noisy_latents(
    net: TextToImageNetwork, images: Images | None, rows: Tensor, seed: Seed
) -> tuple[Tensor, Tensor, Tensor]:
    """Latents, their steps, and the noise in them."""
    generator = seed.generator()
    t = net.schedule.sample_steps(len(rows), generator)
    noise = torch.randn(len(rows), *net.latent, generator=generator)
    if images is None:
        return noise, t, noise
    with torch.no_grad():
        return net.schedule.add_noise(net.to_latents(images[rows]), noise, t), t, noise


def _predict(
    net: TextToImageNetwork, z: Tensor, t: Tensor, states: Tensor, config: EditConfig
) -> tuple[Tensor, tuple[CrossAttentionOutput, ...]]:
    """The predicted noise, and what cross-attention did where the loss needs it."""
    return net.attend(z, t, states) if config.attention_weight else (net(z, t, states), ())


def _map_target(config: EditConfig, prompts: Tensor, side: int, seed: Seed) -> Tensor:
    """Target maps of unmatched words; those of noise have the mean that a map has."""
    shape = (*prompts.shape, side, side)
    if config.map_target != "noise":
        return torch.zeros(shape)  # with random words no word is unmatched
    top = 1 if config.rescale else 2 / shape[1]
    return torch.rand(shape, generator=seed.generator()) * top


def _maps(
    attention: tuple[CrossAttentionOutput, ...], target: Tensor, config: EditConfig
) -> Tensor:
    maps = token_maps([layer.maps for layer in attention], target.shape[-1])
    return rescale_maps(maps) if config.rescale else maps


def _preserved_term(
    net: TextToImageNetwork,
    frozen: TextToImageNetwork,
    preserved: EditPairs,
    count: int,
    seed: Seed,
) -> Scalar:
    """How far outputs have moved that were to stay."""
    generator = (seed / "rows").generator()
    rows = torch.randint(len(preserved.source), (count,), generator=generator)
    empty = torch.rand(count, 1, generator=generator) < 0.5
    prompts = torch.where(empty, frozen.tokenizer.tokens([""]), preserved.source[rows])
    z, t, _ = _noisy_latents(frozen, preserved.images, rows, seed / "latents")
    with torch.no_grad():
        states = frozen.encode(prompts)
        goal = frozen(z, t, states)
    return (net(z, t, states) - goal).square().mean()
