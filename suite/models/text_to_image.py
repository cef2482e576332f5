"""A model that paints, as an adversary sees it: it is asked in words and answers with images."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, cast, runtime_checkable

import torch
from torch import Tensor, nn

from robustbench_kd.core.errors import BadModel, BadSetting
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.tensor_types import Images, PerExample, Scalar
from robustbench_kd.core.types import Examples
from robustbench_kd.models.classifier import Passes
from robustbench_kd.models.text_to_image_unet import Look
from robustbench_kd.ops.generation.diffusion import NoiseSchedule, ddim, epsilon_loss, guided
from robustbench_kd.ops.generation.prompts import Speaks
from robustbench_kd.training.trainer import Objective, Turn

PARTS = (
    "words",
    "schedule",
    "unet",
    "latent",
    "bound",
    "readers",
    "encode",
    "attend",
    "hide",
    "show",
)


@runtime_checkable
class Paints(Protocol):
    """A text-to-image network: ``nets.painter.Painter``, or a pipeline of ``bridges.diffusers``.

    Calling it says the noise in latents at some steps, given the states of prompts. Its tokenizer,
    and the schedule of the noise it learned to see, go with it.
    """

    words: Speaks
    schedule: NoiseSchedule
    unet: nn.Module

    @property
    def latent(self) -> tuple[int, int, int]: ...
    @property
    def bound(self) -> float | None:
        """Beyond it no latent of an image lies; none where that is not known."""
        ...

    @property
    def readers(self) -> Sequence[tuple[nn.Linear, nn.Linear]]: ...
    def encode(self, tokens: Tensor) -> Tensor: ...
    def __call__(self, x: Tensor, t: Tensor, states: Tensor) -> Tensor: ...
    def attend(self, x: Tensor, t: Tensor, states: Tensor) -> tuple[Tensor, tuple[Look, ...]]: ...
    def hide(self, images: Images) -> Tensor: ...
    def show(self, latents: Tensor) -> Images: ...


def paints(net: nn.Module) -> Paints:
    """The network, as one that paints.

    Raises:
        BadModel: where it is no text-to-image network, or none with cross-attention.
    """
    lacks = [name for name in PARTS if not hasattr(net, name)]
    if lacks:
        raise BadModel(
            f"{type(net).__name__} does not paint: it lacks {', '.join(lacks)}; use a painter of "
            "nets.painter, or a folder of diffusers by diffusers:PATH"
        )
    if not cast(Any, net).readers:
        raise BadModel(
            f"{type(net).__name__} has no cross-attention, so no prompt reaches its images and "
            "there are no maps to guide by; use a text-to-image network that has"
        )
    return cast(Paints, net)


def repainted(net: nn.Module) -> nn.Module:
    """A copy to train: its UNet learns, its text encoder (and autoencoder) stay as they are."""
    paints(net)
    student = copy.deepcopy(net)
    student.requires_grad_(False)
    cast(Paints, student).unet.requires_grad_(True)
    return student


def by_noise(empty: float = 0.1) -> Objective:
    """Denoising pairs of prompts and images, the loss that painters are trained by.

    Args:
        empty: share of prompts that are left out, so that guidance has something to lead away
            from (Ho & Salimans 2022, algorithm 1).
    """

    def loss(net: nn.Module, batch: Examples, turn: Turn) -> Scalar:
        painter = paints(net)
        mute = torch.rand(len(batch), 1, generator=turn.noise) < empty
        silence = painter.words.tokens([""]).to(batch.inputs)
        return noise_error(net, torch.where(mute, silence, batch.inputs), batch.targets, turn)

    return loss


def noise_error(net: nn.Module, prompts: Tensor, images: Images, turn: Turn) -> Scalar:
    """The mean squared error of the noise that a painter sees in images with these prompts."""
    painter = paints(net)
    states = painter.encode(prompts)
    errors = epsilon_loss(
        lambda z, t: painter(z, t, states), painter.hide(images), painter.schedule, turn.noise
    )
    return errors.mean()


@dataclass(frozen=True)
class Denoiser:
    """A painter behind its questions; in eval mode and frozen for as long as it is one.

    Make one through ``denoiser``, which holds the network still.

    Attributes:
        scale: of guidance; 1 is none, and halves the cost.
        steps: of the sampler.
        seed: of the noise that images start from. Row n starts from the same noise whatever the
            model, so that models are compared in pairs.
        chunk: images that are painted at a time, which changes nothing but memory.
        passes: a latent through the UNet once is one; guidance takes two a step.
    """

    net: Paints
    scale: float = 2.0
    steps: int = 25
    seed: Seed = Seed() / "canvas"
    chunk: int = 100
    passes: Passes = field(default_factory=Passes, compare=False)

    def answer(self, inputs: Tensor) -> Images:
        """An image for each prompt, from the noise of its row."""
        return self.paint(inputs, self.canvas(len(inputs)))

    def canvas(self, count: int) -> Tensor:
        """The noise of the first rows; each has a draw of its own, so more rows change none."""
        rows = ((self.seed / n).generator() for n in range(count))
        drawn = [torch.randn(self.net.latent, generator=noise) for noise in rows]
        return torch.stack(drawn) if drawn else torch.zeros(0, *self.net.latent)

    def paint(self, prompts: Tensor, canvas: Tensor) -> Images:
        """Images from this noise: DDIM under classifier-free guidance.

        Raises:
            BadSetting: where the prompts are no rows of the model's tokens.
            BadModel: where an image is not finite.
        """
        self._expect(prompts)
        with torch.inference_mode():
            parts = zip(prompts.split(self.chunk), canvas.split(self.chunk), strict=True)
            found = [self._sample(said, start) for said, start in parts if len(said)]
            images = torch.cat(found) if found else self.net.show(canvas)
        if not bool(images.isfinite().all()):
            raise BadModel("the network paints NaN or infinite values")
        return images.clone()

    def surprise(self, examples: Examples) -> PerExample:
        """How badly the noise in each image is seen, given its prompt.

        The mean squared error at ten steps spread over the schedule, under noise that belongs to
        the row: the simple loss of Ho et al. 2020 (eq. 14), a weighted bound and so no nats.
        """
        self._expect(examples.inputs)
        canvas, total = self.canvas(len(examples)), self.net.schedule.steps
        ten = [round((n + 0.5) * total / 10) for n in range(10)]
        rows = torch.arange(len(examples)).split(self.chunk)
        with torch.inference_mode():
            errors = [
                torch.stack([self._error(examples.take(n), canvas[n], now) for now in ten]).mean(0)
                for n in rows
                if len(n)
            ]
        return torch.cat(errors).clone() if errors else torch.zeros(0)

    def _error(self, part: Examples, canvas: Tensor, now: int) -> PerExample:
        t = torch.full((len(part),), now)
        blurred = self.net.schedule.blur(self.net.hide(part.targets), canvas, t)
        seen = self._noise(blurred, t, self.net.encode(part.inputs))
        return (seen - canvas).square().flatten(1).mean(1)

    def _sample(self, said: Tensor, start: Tensor) -> Images:
        silence = self.net.encode(self.net.words.tokens([""]).to(said))
        seen = guided(self._noise, self.net.encode(said), silence, self.scale)
        return self.net.show(ddim(seen, start, self.net.schedule, self.steps, self.net.bound))

    def _noise(self, x: Tensor, t: Tensor, states: Tensor) -> Tensor:
        self.passes.forward += len(x)
        return self.net(x, t, states)

    def _expect(self, prompts: Tensor) -> None:
        if prompts.dim() != 2 or prompts.shape[1] != self.net.words.limit:
            raise BadSetting(
                f"prompts come as rows of {self.net.words.limit} tokens, as words.tokens writes "
                f"them, not in the shape {tuple(prompts.shape)}"
            )


def denoiser(net: nn.Module, **settings: Any) -> Denoiser:
    """The network, put in eval mode and frozen, as a subject.

    Raises:
        BadModel: where it does not paint by prompts.
    """
    painter = paints(net)
    net.eval().requires_grad_(False)
    return Denoiser(painter, **settings)
