"""Diffusion: the noise schedule, the training loss, guidance and deterministic sampling.

Networks appear here only as functions (noisy latents, steps) -> the noise in them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from robustbench_kd.core.errors import BadSetting
from robustbench_kd.core.tensor_types import PerExample

Denoiser = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class NoiseSchedule:
    """How much of an image is left after each of ``steps`` steps of noise.

    ``cosine`` is that of Nichol & Dhariwal 2021, eq. 17, ``scaled-linear`` that of Stable
    Diffusion: the square roots of the variances rise linearly from that of ``first`` to that of
    ``last``. ``linear`` is that of Ho et al. 2020: the variances themselves rise linearly.
    """

    steps: int = 1_000
    kind: str = "cosine"
    first: float = 0.00085
    last: float = 0.012

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise BadSetting(f"a noise schedule needs at least one step, not {self.steps}")
        if self.kind not in ("cosine", "scaled-linear", "linear"):
            raise BadSetting(
                f"no noise schedule named {self.kind!r}; known: cosine, scaled-linear, linear"
            )

    @cached_property
    def alpha_bar(self) -> Tensor:
        """The share of the image's variance that is left after step t; shape (steps,)."""
        n = torch.arange(self.steps + 1, dtype=torch.float64) / self.steps
        if self.kind == "cosine":
            level = torch.cos((n + 0.008) / 1.008 * math.pi / 2).square()
            beta = (1 - level[1:] / level[:-1]).clamp(max=0.999)
        elif self.kind == "linear":
            beta = torch.linspace(self.first, self.last, self.steps, dtype=torch.float64)
        else:
            ends = (self.first**0.5, self.last**0.5)
            beta = torch.linspace(*ends, self.steps, dtype=torch.float64).square()
        return (1 - beta).cumprod(0).float()

    def add_noise(self, x: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """The latents with the noise of step t (Ho et al. 2020, eq. 4)."""
        alpha_bar = self.alpha_bar.to(x)[t].view(-1, *[1] * (x.dim() - 1))
        return alpha_bar.sqrt() * x + (1 - alpha_bar).sqrt() * noise

    def remove_noise(self, z: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """The clean latents, if the noise in ``z`` is this; the inverse of ``add_noise``."""
        alpha_bar = self.alpha_bar.to(z)[t].view(-1, *[1] * (z.dim() - 1))
        return (z - (1 - alpha_bar).sqrt() * noise) / alpha_bar.sqrt()

    def sample_steps(self, count: int, noise: torch.Generator) -> Tensor:
        """Steps drawn uniformly."""
        return torch.randint(self.steps, (count,), generator=noise)


def epsilon_loss(
    denoise: Denoiser, x: Tensor, schedule: NoiseSchedule, noise: torch.Generator
) -> PerExample:
    """The squared error of the predicted noise, averaged over a latent (Ho et al. 2020, eq. 14).

    One step and one draw of noise an example.
    """
    t = schedule.sample_steps(len(x), noise).to(x.device)
    epsilon = torch.randn(x.shape, generator=noise).to(x)
    return (denoise(schedule.add_noise(x, epsilon, t), t) - epsilon).square().flatten(1).mean(1)


def classifier_free_guidance(
    denoise: Callable[[Tensor, Tensor, Tensor], Tensor],
    states: Tensor,
    empty: Tensor,
    scale: float,
) -> Denoiser:
    """Classifier-free guidance (Ho & Salimans 2022, eq. 6, their w being ``scale`` less one).

    Args:
        denoise: (latents, steps, states of prompts) -> noise.
        states: of the prompts.
        empty: states of the empty prompt, one row for all or one for each.
        scale: 1 is no guidance and costs one pass; any other costs two.
    """
    if scale == 1:
        return lambda z, t: denoise(z, t, states)
    both = torch.cat([states, empty.expand_as(states)])

    def noise(z: Tensor, t: Tensor) -> Tensor:
        conditional, unconditional = denoise(torch.cat([z, z]), torch.cat([t, t]), both).chunk(2)
        return unconditional + scale * (conditional - unconditional)

    return noise


def ddim(
    denoise: Denoiser,
    start: Tensor,
    schedule: NoiseSchedule,
    steps: int = 25,
    clip: float | None = 1.0,
) -> Tensor:
    """Deterministic sampling of latents from noise (Song, Meng & Ermon 2021, eq. 12, sigma 0).

    Args:
        start: standard normal noise; the same noise gives the same latents.
        steps: passes, spread evenly over the schedule from its very end ("trailing" in Lin et al.
            2024, table 2).
        clip: bound of the latents of an image; the estimate of the image is clipped there at each
            step, and its noise follows, since guidance leads out of the box.
    """
    z = start
    times = sampling_steps(schedule.steps, steps)
    for n, time in enumerate(times):
        t = torch.full((len(z),), time, device=z.device)
        noise = denoise(z, t)
        x = schedule.remove_noise(z, noise, t)
        if clip is not None:
            x = x.clamp(-clip, clip)
            alpha_bar = float(schedule.alpha_bar[time])
            noise = (z - alpha_bar**0.5 * x) / (1 - alpha_bar) ** 0.5
        if n + 1 == len(times):
            return x
        z = schedule.add_noise(x, noise, torch.full_like(t, times[n + 1]))
    return z


def token_maps(maps: Sequence[Tensor], side: int) -> Tensor:
    """One cross-attention map a token: the mean over heads and layers.

    Args:
        maps: of each layer, (images, heads, height, width, tokens).
        side: height and width that all of them are resized to, bilinearly.

    Returns:
        (images, tokens, side, side), differentiable; over tokens they sum to one.
    """
    resized = [
        F.interpolate(layer.mean(1).movedim(3, 1), (side, side), mode="bilinear") for layer in maps
    ]
    return torch.stack(resized).mean(0)


def sampling_steps(total: int, steps: int) -> list[int]:
    """The steps of the schedule that a sampler visits, from the noisiest on.

    Raises:
        BadSetting: where the sampler takes more steps than the schedule has, or none.
    """
    if not 1 <= steps <= total:
        raise BadSetting(f"a sampler takes from 1 to {total} steps, not {steps}")
    return [round((n + 1) * total / steps) - 1 for n in reversed(range(steps))]
