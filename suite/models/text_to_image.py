"""Text-to-image models as an adversary sees them: prompts in, images out."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, cast, runtime_checkable

import torch
from torch import Tensor, nn

from robustbench_kd.core.errors import BadModel, BadSetting
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.tensor_types import Images, PerExample
from robustbench_kd.core.types import Examples
from robustbench_kd.models.classifier import PassCounter
from robustbench_kd.models.text_to_image_unet import CrossAttentionOutput
from robustbench_kd.ops.generation.diffusion import (
    NoiseSchedule,
    classifier_free_guidance,
    ddim,
)
from robustbench_kd.ops.generation.prompts import PromptTokenizer

ATTRIBUTES = (
    "tokenizer",
    "schedule",
    "unet",
    "latent",
    "bound",
    "cross_attention_projections",
    "encode",
    "attend",
    "to_latents",
    "to_images",
)


@runtime_checkable
class TextToImageNetwork(Protocol):
    """A ``LatentDiffusionNetwork``, or a pipeline of ``integrations.diffusers``.

    Calling it predicts the noise in latents at some steps, given the states of prompts. Its
    tokenizer, and the schedule of the noise that it was trained on, go with it.
    """

    tokenizer: PromptTokenizer
    schedule: NoiseSchedule
    unet: nn.Module

    @property
    def latent(self) -> tuple[int, int, int]: ...
    @property
    def bound(self) -> float | None:
        """The largest absolute value in a latent of an image; None where it is unknown."""
        ...

    @property
    def cross_attention_projections(self) -> Sequence[tuple[nn.Linear, nn.Linear]]: ...
    def encode(self, tokens: Tensor) -> Tensor: ...
    def __call__(self, x: Tensor, t: Tensor, states: Tensor) -> Tensor: ...
    def attend(
        self, x: Tensor, t: Tensor, states: Tensor
    ) -> tuple[Tensor, tuple[CrossAttentionOutput, ...]]: ...
    def to_latents(self, images: Images) -> Tensor: ...
    def to_images(self, latents: Tensor) -> Images: ...


def as_text_to_image(net: nn.Module) -> TextToImageNetwork:
    """The network, checked to be a text-to-image network.

    Raises:
        BadModel: where it is none, or has no cross-attention.
    """
    missing = [name for name in ATTRIBUTES if not hasattr(net, name)]
    if missing:
        raise BadModel(
            f"{type(net).__name__} is no text-to-image network: it lacks {', '.join(missing)}; use "
            "a LatentDiffusionNetwork, or a folder of diffusers by diffusers:PATH"
        )
    if not cast(Any, net).cross_attention_projections:
        raise BadModel(
            f"{type(net).__name__} has no cross-attention, so no prompt reaches its images and "
            "there are no maps to guide by; use a text-to-image network that has"
        )
    return cast(TextToImageNetwork, net)


def trainable_copy(net: nn.Module) -> nn.Module:
    """A copy whose UNet is trainable; its text encoder (and autoencoder) stay frozen."""
    as_text_to_image(net)
    student = copy.deepcopy(net)
    student.requires_grad_(False)
    cast(TextToImageNetwork, student).unet.requires_grad_(True)
    return student


@dataclass(frozen=True)
class TextToImageModel:
    """A text-to-image network as a target model, in eval mode and frozen.

    Made by ``text_to_image_model``, which freezes the network.

    Attributes:
        scale: of guidance; 1 is none, and halves the cost.
        steps: of the sampler.
        seed: of the noise that images start from. Row n starts from the same noise whatever the
            model, so that models are compared in pairs.
        chunk: images that are generated at a time, which changes nothing but memory.
        passes: a latent through the UNet once is one; guidance takes two a step.
    """

    net: TextToImageNetwork
    scale: float = 2.0
    steps: int = 25
    seed: Seed = Seed() / "canvas"
    chunk: int = 100
    passes: PassCounter = field(default_factory=PassCounter, compare=False)

    def answer(self, inputs: Tensor) -> Images:
        """An image for each prompt, from the noise of its row."""
        return self.generate(inputs, self.initial_latents(len(inputs)))

    def initial_latents(self, count: int) -> Tensor:
        """The noise of the first rows; each has its own draw, so more rows change none."""
        generators = ((self.seed / n).generator() for n in range(count))
        latents = [torch.randn(self.net.latent, generator=noise) for noise in generators]
        return torch.stack(latents) if latents else torch.zeros(0, *self.net.latent)

    def generate(self, prompts: Tensor, latents: Tensor) -> Images:
        """Images from this noise: DDIM under classifier-free guidance.

        Raises:
            BadSetting: where the prompts are no rows of the model's tokens.
            BadModel: where an image is not finite.
        """
        self._check_prompts(prompts)
        with torch.inference_mode():
            parts = zip(prompts.split(self.chunk), latents.split(self.chunk), strict=True)
            chunks = [self._sample(tokens, start) for tokens, start in parts if len(tokens)]
            images = torch.cat(chunks) if chunks else self.net.to_images(latents)
        if not bool(images.isfinite().all()):
            raise BadModel("the network generates NaN or infinite values")
        return images.clone()

    def example_losses(self, examples: Examples) -> PerExample:
        """The error of the predicted noise in each image, given its prompt.

        The mean squared error at ten steps spread over the schedule, under the noise of the row:
        the simple loss of Ho et al. 2020 (eq. 14), a weighted bound and so not in nats.
        """
        self._check_prompts(examples.inputs)
        noise, total = self.initial_latents(len(examples)), self.net.schedule.steps
        times = [round((n + 0.5) * total / 10) for n in range(10)]
        rows = torch.arange(len(examples)).split(self.chunk)
        with torch.inference_mode():
            errors = [
                torch.stack([self._error(examples.take(n), noise[n], t) for t in times]).mean(0)
                for n in rows
                if len(n)
            ]
        return torch.cat(errors).clone() if errors else torch.zeros(0)

    def _error(self, part: Examples, noise: Tensor, time: int) -> PerExample:
        t = torch.full((len(part),), time)
        noisy = self.net.schedule.add_noise(self.net.to_latents(part.targets), noise, t)
        predicted = self._predict_noise(noisy, t, self.net.encode(part.inputs))
        return (predicted - noise).square().flatten(1).mean(1)

    def _sample(self, prompts: Tensor, start: Tensor) -> Images:
        empty = self.net.encode(self.net.tokenizer.tokens([""]).to(prompts))
        denoise = classifier_free_guidance(
            self._predict_noise, self.net.encode(prompts), empty, self.scale
        )
        latents = ddim(denoise, start, self.net.schedule, self.steps, self.net.bound)
        return self.net.to_images(latents)

    def _predict_noise(self, x: Tensor, t: Tensor, states: Tensor) -> Tensor:
        self.passes.forward += len(x)
        return self.net(x, t, states)

    def _check_prompts(self, prompts: Tensor) -> None:
        limit = self.net.tokenizer.limit
        if prompts.dim() != 2 or prompts.shape[1] != limit:
            raise BadSetting(
                f"prompts come as rows of {limit} tokens, as tokenizer.tokens returns them, not in "
                f"the shape {tuple(prompts.shape)}"
            )


def text_to_image_model(net: nn.Module, **settings: Any) -> TextToImageModel:
    """The network, put in eval mode and frozen, as a target model.

    Raises:
        BadModel: where it is no text-to-image network.
    """
    network = as_text_to_image(net)
    net.eval().requires_grad_(False)
    return TextToImageModel(network, **settings)
