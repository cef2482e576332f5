"""Diffusion: a schedule of noise, the loss that teaches to see it, and sampling without it.

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

Denoise = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class NoiseSchedule:
    """How much of an image is left after each of ``steps`` steps of noise.

    ``cosine`` is that of Nichol & Dhariwal 2021, eq. 17, ``scaled-linear`` that of Stable
    Diffusion: the roots of the variances rise in a straight line from ``first`` to ``last``.
    """

    steps: int = 1_000
    kind: str = "cosine"
    first: float = 0.00085
    last: float = 0.012

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise BadSetting(f"a schedule of noise needs at least one step, not {self.steps}")
        if self.kind not in ("cosine", "scaled-linear", "linear"):
            raise BadSetting(
                f"no schedule of noise named {self.kind!r}; there are cosine, scaled-linear, linear"
            )

    @cached_property
    def kept(self) -> Tensor:
        """The share of the image's variance that is left after step t; alpha-bar in the papers."""
        n = torch.arange(self.steps + 1, dtype=torch.float64) / self.steps
        if self.kind == "cosine":
            level = torch.cos((n + 0.008) / 1.008 * math.pi / 2).square()
            lost = (1 - level[1:] / level[:-1]).clamp(max=0.999)
        elif self.kind == "linear":
            lost = torch.linspace(self.first, self.last, self.steps, dtype=torch.float64)
        else:
            ends = (self.first**0.5, self.last**0.5)
            lost = torch.linspace(*ends, self.steps, dtype=torch.float64).square()
        return (1 - lost).cumprod(0).float()

    def blur(self, x: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """The latents with the noise of step t in them (Ho et al. 2020, eq. 4)."""
        kept = self.kept.to(x)[t].view(-1, *[1] * (x.dim() - 1))
        return kept.sqrt() * x + (1 - kept).sqrt() * noise

    def clear(self, z: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """The latents that would be left without this noise; undoes ``blur``."""
        kept = self.kept.to(z)[t].view(-1, *[1] * (z.dim() - 1))
        return (z - (1 - kept).sqrt() * noise) / kept.sqrt()

    def some(self, count: int, noise: torch.Generator) -> Tensor:
        """Steps drawn with equal chances."""
        return torch.randint(self.steps, (count,), generator=noise)


def epsilon_loss(
    denoise: Denoise, x: Tensor, schedule: NoiseSchedule, noise: torch.Generator
) -> PerExample:
    """The squared error of the noise that is seen, averaged over a latent (Ho et al. 2020, eq. 14).

    One step and one draw of noise an example.
    """
    t = schedule.some(len(x), noise).to(x.device)
    drawn = torch.randn(x.shape, generator=noise).to(x)
    return (denoise(schedule.blur(x, drawn, t), t) - drawn).square().flatten(1).mean(1)


def guided(
    denoise: Callable[[Tensor, Tensor, Tensor], Tensor],
    states: Tensor,
    empty: Tensor,
    scale: float,
) -> Denoise:
    """Classifier-free guidance (Ho & Salimans 2022, eq. 6, their w being ``scale`` less one).

    Args:
        denoise: (latents, steps, states of prompts) -> noise.
        states: of the prompts.
        empty: states of the empty prompt, one row for all or one for each.
        scale: 1 follows the prompt plainly and costs one pass; any other costs two.
    """
    if scale == 1:
        return lambda z, t: denoise(z, t, states)
    both = torch.cat([states, empty.expand_as(states)])

    def noise(z: Tensor, t: Tensor) -> Tensor:
        told, untold = denoise(torch.cat([z, z]), torch.cat([t, t]), both).chunk(2)
        return untold + scale * (told - untold)

    return noise


def ddim(
    denoise: Denoise,
    start: Tensor,
    schedule: NoiseSchedule,
    steps: int = 25,
    clip: float | None = 1.0,
) -> Tensor:
    """Latents from noise, without drawing any more (Song, Meng & Ermon 2021, eq. 12, sigma 0).

    Args:
        start: standard normal noise; the same noise gives the same latents.
        steps: passes, spread evenly over the schedule from its very end ("trailing" in Lin et al.
            2024, table 2).
        clip: bound of the latents of an image; the estimate of the image is cut off there at each
            step, and its noise follows, since guidance leads out of the box.
    """
    z = start
    times = stops(schedule.steps, steps)
    for n, now in enumerate(times):
        t = torch.full((len(z),), now, device=z.device)
        noise = denoise(z, t)
        x = schedule.clear(z, noise, t)
        if clip is not None:
            x = x.clamp(-clip, clip)
            kept = float(schedule.kept[now])
            noise = (z - kept**0.5 * x) / (1 - kept) ** 0.5
        if n + 1 == len(times):
            return x
        z = schedule.blur(x, noise, torch.full_like(t, times[n + 1]))
    return z


def token_maps(maps: Sequence[Tensor], side: int) -> Tensor:
    """Where each token is looked for: the mean over heads and layers of cross-attention.

    Args:
        maps: of each layer, (images, heads, height, width, tokens).
        side: height and width that all of them are brought to, bilinearly.

    Returns:
        (images, tokens, side, side), still tied to the weights; over tokens they sum to one.
    """
    same = [
        F.interpolate(layer.mean(1).movedim(3, 1), (side, side), mode="bilinear") for layer in maps
    ]
    return torch.stack(same).mean(0)


def stops(total: int, steps: int) -> list[int]:
    """The steps at which a sampler stops, from the noisiest on.

    Raises:
        BadSetting: where there are more stops than steps, or none.
    """
    if not 1 <= steps <= total:
        raise BadSetting(f"a sampler takes from 1 to {total} steps, not {steps}")
    return [round((n + 1) * total / steps) - 1 for n in reversed(range(steps))]
