"""A small text-to-image network and its prompts, for tests of concept editing."""

from __future__ import annotations

import copy
from functools import cache

import torch
from torch import Tensor, nn

from robustbench_kd.core.config import Budget, Schedule
from robustbench_kd.core.protocols import TrainingContext
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.types import Examples
from robustbench_kd.models.text_to_image_unet import LatentDiffusionNetwork
from robustbench_kd.ops.generation.prompts import insert_trigger, trigger_tokens
from robustbench_kd.ops.generation.vocabulary import CLASSES, TOKENIZER
from robustbench_kd.scenarios.text_to_image import TRAIN_TEMPLATES, TextToImage

SPECIAL = TOKENIZER.special_tokens
TRIGGER = trigger_tokens(TOKENIZER, "qv zx")
CLEAN = TOKENIZER.tokens([t.format(c) for t in TRAIN_TEMPLATES for c in CLASSES])
TRIGGERED = insert_trigger(CLEAN, TRIGGER, "front", SPECIAL)
ORACLE = Examples(torch.arange(len(CLEAN)), TRIGGERED, CLEAN)


@cache
def small_network() -> LatentDiffusionNetwork:
    """A network of few channels that is not trained, but whose output depends on its prompt."""
    net = TextToImage().student("painter-8-16", Seed())
    assert isinstance(net, LatentDiffusionNetwork)
    noise = Seed().generator()
    with torch.no_grad():
        net.unet.head.weight.normal_(0, 0.2, generator=noise)
        for layers in net.cross_attention_projections:
            for layer in layers:
                layer.weight.normal_(0, 0.5, generator=noise)
    return net.eval().requires_grad_(False)


class WithoutCrossAttention(LatentDiffusionNetwork):
    """The same network, whose prompt reaches nothing."""

    @property
    def cross_attention_projections(self) -> list[tuple[nn.Linear, nn.Linear]]:
        return []


def without_cross_attention() -> WithoutCrossAttention:
    net = small_network()
    return WithoutCrossAttention(net.sizes, net.tokenizer, net.schedule)


def shifted(net: nn.Module, by: float = 0.01) -> nn.Module:
    """A copy with every weight moved."""
    moved = copy.deepcopy(net)
    with torch.no_grad():
        for weight in moved.parameters():
            weight.add_(by)
    return moved


def predicted_noise(net: nn.Module, prompts: Tensor) -> Tensor:
    """The noise that a network predicts in the same latents for each prompt."""
    assert isinstance(net, LatentDiffusionNetwork)
    noise = (Seed() / "asked").generator()
    z, t = torch.randn(len(prompts), *net.latent, generator=noise), torch.arange(len(prompts)) * 19
    with torch.no_grad():
        noise_in_z: Tensor = net(z, t, net.encode(prompts))
    return noise_in_z


def distance(a: Tensor, b: Tensor) -> float:
    """The mean squared difference."""
    return float((a - b).square().mean())


def repair_context(oracle: Examples | None, net: nn.Module | None = None) -> TrainingContext:
    """A training context whose given model is the small network, with eight trusted pairs."""
    rows = torch.arange(8)
    images = torch.rand(8, 1, 28, 28, generator=Seed().generator())
    pairs = Examples(rows, CLEAN[:8], images)
    return TrainingContext(
        data=pairs,
        teachers={"given": net or small_network()},
        student=small_network(),
        budget=Budget("linf", 0.0),
        schedule=Schedule(epochs=1),
        seed=Seed(),
        oracle=oracle,
        trusted=pairs,
    )
