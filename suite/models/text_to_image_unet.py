"""A small text-to-image model: a text encoder, and a UNet with cross-attention to its states.

The size of a toy, the anatomy of Stable Diffusion (Rombach et al. 2022, section 3.3): a causal text
encoder whose states, those of the padding included, reach the image by cross-attention alone, and
latents, here by folding pixels into channels, which loses nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustbench_kd.core.seed import Seed
from robustbench_kd.core.tensor_types import Images


@dataclass(frozen=True)
class DiffusionSizes:
    """The sizes of a network; ``fold`` by ``fold`` pixels become the channels of a latent.

    ``width`` and ``deep_width`` are the channels of the upper and of the lower level of the UNet,
    ``limit`` the tokens of a prompt.
    """

    vocabulary: int
    limit: int
    channels: int = 1
    size: int = 28
    fold: int = 2
    width: int = 32
    deep_width: int = 64
    text_width: int = 64
    heads: int = 2

    @property
    def latent(self) -> tuple[int, int, int]:
        """Channels, height and width of a latent."""
        side = self.size // self.fold
        return self.channels * self.fold**2, side, side


class CrossAttentionOutput(NamedTuple):
    """What one cross-attention layer computed in one pass, differentiable.

    ``maps`` (images, heads, height, width, tokens) sum to one over the tokens; ``output`` (images,
    channels, height, width) is the layer's output before its last projection.
    """

    maps: Tensor
    output: Tensor


class TextEncoder(nn.Module):
    """Embeddings, positions and one causal transformer layer."""

    def __init__(self, vocabulary: int, limit: int, width: int, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.embedding = nn.Embedding(vocabulary, width)
        self.position = nn.Parameter(torch.zeros(limit, width))
        self.first_norm = nn.LayerNorm(width)
        self.mix = nn.Linear(width, 3 * width)
        self.join = nn.Linear(width, width)
        self.second_norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, 2 * width)
        self.down = nn.Linear(2 * width, width)
        self.last_norm = nn.LayerNorm(width)

    def forward(self, tokens: Tensor) -> Tensor:
        count, length = tokens.shape
        h = self.embedding(tokens) + self.position[:length]
        parts = self.mix(self.first_norm(h)).view(count, length, 3, self.heads, -1)
        q, k, v = parts.permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        h = h + self.join(attended.transpose(1, 2).flatten(2))
        h = h + self.down(F.gelu(self.up(self.second_norm(h))))
        states: Tensor = self.last_norm(h)
        return states


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut; the step embedding shifts the channels in between."""

    def __init__(self, width: int, out: int, moment: int) -> None:
        super().__init__()
        self.first_norm = nn.GroupNorm(8, width)
        self.first = nn.Conv2d(width, out, 3, 1, 1)
        self.moment = nn.Linear(moment, out)
        self.second_norm = nn.GroupNorm(8, out)
        self.second = nn.Conv2d(out, out, 3, 1, 1)
        self.shortcut = nn.Conv2d(width, out, 1) if width != out else nn.Identity()

    def forward(self, x: Tensor, moment: Tensor) -> Tensor:
        h = self.first(F.silu(self.first_norm(x))) + self.moment(moment)[:, :, None, None]
        h = self.second(F.silu(self.second_norm(h)))
        output: Tensor = h + self.shortcut(x)
        return output


class CrossAttention(nn.Module):
    """Cross-attention: queries from every place of the image, keys and values from the tokens."""

    def __init__(self, width: int, text_width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.GroupNorm(8, width)
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(text_width, width, bias=False)
        self.value = nn.Linear(text_width, width, bias=False)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, states: Tensor) -> tuple[Tensor, CrossAttentionOutput]:
        count, channels, height, width = x.shape
        places = self.norm(x).flatten(2).transpose(1, 2)
        q, k, v = (
            part.unflatten(2, (self.heads, -1)).transpose(1, 2)
            for part in (self.query(places), self.key(states), self.value(states))
        )
        maps = (q @ k.transpose(2, 3) / math.sqrt(channels // self.heads)).softmax(3)
        read = (maps @ v).transpose(1, 2).flatten(2)
        grid = (count, channels, height, width)
        projected = self.out(read).transpose(1, 2).reshape(grid)
        output = CrossAttentionOutput(
            maps.unflatten(2, (height, width)), read.transpose(1, 2).reshape(grid)
        )
        return x + projected, output


class Stage(nn.Module):
    """A residual block, then cross-attention."""

    def __init__(self, width: int, out: int, moment: int, sizes: DiffusionSizes) -> None:
        super().__init__()
        self.residual = ResidualBlock(width, out, moment)
        self.cross = CrossAttention(out, sizes.text_width, sizes.heads)

    def forward(
        self, x: Tensor, moment: Tensor, states: Tensor, outputs: list[CrossAttentionOutput]
    ) -> Tensor:
        x, output = self.cross(self.residual(x, moment), states)
        outputs.append(output)
        return x


class UNet(nn.Module):
    """Two levels, each with a stage on the way down and on the way up, and one in the middle."""

    def __init__(self, sizes: DiffusionSizes) -> None:
        super().__init__()
        width, deep, moment = sizes.width, sizes.deep_width, 2 * sizes.deep_width
        latent_channels = sizes.latent[0]
        self.frequencies = deep
        self.early = nn.Linear(deep, moment)
        self.late = nn.Linear(moment, moment)
        self.stem = nn.Conv2d(latent_channels, width, 3, 1, 1)
        self.down1 = Stage(width, width, moment, sizes)
        self.halve = nn.Conv2d(width, width, 3, 2, 1)
        self.down2 = Stage(width, deep, moment, sizes)
        self.middle = Stage(deep, deep, moment, sizes)
        self.after = ResidualBlock(deep, deep, moment)
        self.up2 = Stage(2 * deep, deep, moment, sizes)
        self.enlarge = nn.Conv2d(deep, width, 3, 1, 1)
        self.up1 = Stage(2 * width, width, moment, sizes)
        self.norm = nn.GroupNorm(8, width)
        self.head = nn.Conv2d(width, latent_channels, 3, 1, 1)

    def forward(
        self, x: Tensor, t: Tensor, states: Tensor
    ) -> tuple[Tensor, tuple[CrossAttentionOutput, ...]]:
        outputs: list[CrossAttentionOutput] = []
        embedding = step_embedding(t, self.frequencies)
        moment = F.silu(self.late(F.silu(self.early(embedding))))
        high = self.down1(self.stem(x), moment, states, outputs)
        low = self.down2(self.halve(high), moment, states, outputs)
        h = self.after(self.middle(low, moment, states, outputs), moment)
        h = self.up2(torch.cat([h, low], 1), moment, states, outputs)
        h = self.enlarge(F.interpolate(h, scale_factor=2.0))
        h = self.up1(torch.cat([h, high], 1), moment, states, outputs)
        noise: Tensor = self.head(F.silu(self.norm(h)))
        return noise, tuple(outputs)


def step_embedding(t: Tensor, count: int) -> Tensor:
    """Sines and cosines of the step, of wavelengths from 2 pi to 2 pi 10,000 (Ho et al. 2020)."""
    rates = torch.exp(-math.log(10_000) * torch.arange(count // 2, device=t.device) * 2 / count)
    angles = t.float()[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], 1)


class LatentDiffusionNetwork(nn.Module):
    """Text encoder and UNet; ``forward`` predicts the noise in a latent, given a prompt's states.

    ``tokenizer`` and ``schedule`` (of the noise that it was trained on) go with the network but are
    no weights. ``bound`` is that of the latents of an image.
    """

    bound: float | None = 1.0

    def __init__(self, sizes: DiffusionSizes, tokenizer: Any = None, schedule: Any = None) -> None:
        super().__init__()
        self.sizes, self.tokenizer, self.schedule = sizes, tokenizer, schedule
        self.text = TextEncoder(sizes.vocabulary, sizes.limit, sizes.text_width)
        self.unet = UNet(sizes)

    @property
    def latent(self) -> tuple[int, int, int]:
        """Channels, height and width of a latent."""
        return self.sizes.latent

    @property
    def cross_attention_projections(self) -> list[tuple[nn.Linear, nn.Linear]]:
        """The key and value maps of each cross-attention layer: all that a prompt passes through.

        A closed-form edit replaces their weights.
        """
        layers = (layer for layer in self.modules() if isinstance(layer, CrossAttention))
        return [(layer.key, layer.value) for layer in layers]

    def encode(self, tokens: Tensor) -> Tensor:
        """The state of each token of each prompt: (prompts, tokens, width)."""
        states: Tensor = self.text(tokens)
        return states

    def forward(self, x: Tensor, t: Tensor, states: Tensor) -> Tensor:
        """The noise in the latents ``x`` at the steps ``t``."""
        return self.attend(x, t, states)[0]

    def attend(
        self, x: Tensor, t: Tensor, states: Tensor
    ) -> tuple[Tensor, tuple[CrossAttentionOutput, ...]]:
        """The noise, and what each cross-attention layer computed, from the input to the output.

        All of it belongs to this one pass and is differentiable; the network stores nothing.
        """
        noise, outputs = self.unet(x, t, states)
        return noise, outputs

    def to_latents(self, images: Images) -> Tensor:
        """Images in [0, 1] -> latents in [-1, 1]; exact, and inverted by ``to_images``."""
        return F.pixel_unshuffle(2 * images - 1, self.sizes.fold)

    def to_images(self, latents: Tensor) -> Images:
        """Latents -> images, clipped to [0, 1]."""
        return (F.pixel_shuffle(latents, self.sizes.fold) / 2 + 0.5).clamp(0, 1)


def latent_diffusion_network(
    sizes: DiffusionSizes, seed: Seed, tokenizer: Any = None, schedule: Any = None
) -> LatentDiffusionNetwork:
    """A fresh network; its initial weights depend on the seed alone.

    The last layer of each residual branch starts at zero, so that the network starts as a shallow
    one.
    """
    with torch.random.fork_rng(
        devices=[]
    ):  # layers draw weights of their own; the fork confines it
        net = LatentDiffusionNetwork(sizes, tokenizer, schedule)
    noise = seed.generator()
    with torch.no_grad():
        for name, weight in net.named_parameters():
            if name.endswith(("embedding.weight", "position")):
                weight.normal_(0, 0.1, generator=noise)
            elif name.endswith(("second.weight", "unet.head.weight")):
                weight.zero_()
            elif weight.dim() > 1:
                bound = weight[0].numel() ** -0.5
                weight.uniform_(-bound, bound, generator=noise)
            elif name.endswith("bias"):
                weight.zero_()
    return net
