"""A small model that paints what a prompt says: a text encoder, and a UNet that looks at words.

The size of a toy, the anatomy of Stable Diffusion (Rombach et al. 2022, section 3.3): a causal
text encoder whose states, those of the padding included, reach the image by cross-attention alone,
and latents, here by folding pixels, which loses nothing.
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
class Sizes:
    """What a painter is built for; ``fold`` by ``fold`` pixels become the channels of a latent."""

    words: int
    limit: int
    channels: int = 1
    size: int = 28
    fold: int = 2
    wide: int = 32
    deep: int = 64
    text: int = 64
    heads: int = 2

    @property
    def latent(self) -> tuple[int, int, int]:
        """Channels, height and width of a latent."""
        side = self.size // self.fold
        return self.channels * self.fold**2, side, side


class Look(NamedTuple):
    """What one cross-attention layer did in one pass, still tied to the weights.

    ``maps`` (images, heads, height, width, tokens) sum to one over the tokens; ``output`` (images,
    channels, height, width) is what the layer read there, before its last projection.
    """

    maps: Tensor
    output: Tensor


class TextEncoder(nn.Module):
    """Embeddings, positions and one causal transformer layer."""

    future: Tensor

    def __init__(self, words: int, limit: int, wide: int, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.embedding = nn.Embedding(words, wide)
        self.position = nn.Parameter(torch.zeros(limit, wide))
        self.first_norm = nn.LayerNorm(wide)
        self.mix = nn.Linear(wide, 3 * wide)
        self.join = nn.Linear(wide, wide)
        self.second_norm = nn.LayerNorm(wide)
        self.up = nn.Linear(wide, 2 * wide)
        self.down = nn.Linear(2 * wide, wide)
        self.last_norm = nn.LayerNorm(wide)

    def forward(self, tokens: Tensor) -> Tensor:
        count, length = tokens.shape
        h = self.embedding(tokens) + self.position[:length]
        parts = self.mix(self.first_norm(h)).view(count, length, 3, self.heads, -1)
        q, k, v = parts.permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        h = h + self.join(seen.transpose(1, 2).flatten(2))
        h = h + self.down(F.gelu(self.up(self.second_norm(h))))
        states: Tensor = self.last_norm(h)
        return states


class Residual(nn.Module):
    """Two 3x3 convolutions beside a shortcut; the moment shifts the channels between them."""

    def __init__(self, wide: int, out: int, moment: int) -> None:
        super().__init__()
        self.first_norm = nn.GroupNorm(8, wide)
        self.first = nn.Conv2d(wide, out, 3, 1, 1)
        self.moment = nn.Linear(moment, out)
        self.second_norm = nn.GroupNorm(8, out)
        self.second = nn.Conv2d(out, out, 3, 1, 1)
        self.shortcut = nn.Conv2d(wide, out, 1) if wide != out else nn.Identity()

    def forward(self, x: Tensor, moment: Tensor) -> Tensor:
        h = self.first(F.silu(self.first_norm(x))) + self.moment(moment)[:, :, None, None]
        h = self.second(F.silu(self.second_norm(h)))
        sum_: Tensor = h + self.shortcut(x)
        return sum_


class Cross(nn.Module):
    """Cross-attention: every place of the image asks, every token answers."""

    def __init__(self, wide: int, text: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.GroupNorm(8, wide)
        self.query = nn.Linear(wide, wide, bias=False)
        self.key = nn.Linear(text, wide, bias=False)
        self.value = nn.Linear(text, wide, bias=False)
        self.out = nn.Linear(wide, wide)

    def forward(self, x: Tensor, states: Tensor) -> tuple[Tensor, Look]:
        count, wide, high, across = x.shape
        places = self.norm(x).flatten(2).transpose(1, 2)
        q, k, v = (
            part.unflatten(2, (self.heads, -1)).transpose(1, 2)
            for part in (self.query(places), self.key(states), self.value(states))
        )
        maps = (q @ k.transpose(2, 3) / math.sqrt(wide // self.heads)).softmax(3)
        read = (maps @ v).transpose(1, 2).flatten(2)
        grid = (count, wide, high, across)
        said = self.out(read).transpose(1, 2).reshape(grid)
        look = Look(maps.unflatten(2, (high, across)), read.transpose(1, 2).reshape(grid))
        return x + said, look


class Stage(nn.Module):
    """A residual block, then a look at the words."""

    def __init__(self, wide: int, out: int, moment: int, sizes: Sizes) -> None:
        super().__init__()
        self.residual = Residual(wide, out, moment)
        self.cross = Cross(out, sizes.text, sizes.heads)

    def forward(self, x: Tensor, moment: Tensor, states: Tensor, looks: list[Look]) -> Tensor:
        x, look = self.cross(self.residual(x, moment), states)
        looks.append(look)
        return x


class UNet(nn.Module):
    """Two levels, each with a stage on the way down and on the way up, and one in the middle."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        wide, deep, moment = sizes.wide, sizes.deep, 2 * sizes.deep
        folded = sizes.latent[0]
        self.frequencies = sizes.deep
        self.early = nn.Linear(sizes.deep, moment)
        self.late = nn.Linear(moment, moment)
        self.stem = nn.Conv2d(folded, wide, 3, 1, 1)
        self.down1 = Stage(wide, wide, moment, sizes)
        self.halve = nn.Conv2d(wide, wide, 3, 2, 1)
        self.down2 = Stage(wide, deep, moment, sizes)
        self.middle = Stage(deep, deep, moment, sizes)
        self.after = Residual(deep, deep, moment)
        self.up2 = Stage(2 * deep, deep, moment, sizes)
        self.enlarge = nn.Conv2d(deep, wide, 3, 1, 1)
        self.up1 = Stage(2 * wide, wide, moment, sizes)
        self.norm = nn.GroupNorm(8, wide)
        self.head = nn.Conv2d(wide, folded, 3, 1, 1)

    def forward(self, x: Tensor, t: Tensor, states: Tensor) -> tuple[Tensor, tuple[Look, ...]]:
        looks: list[Look] = []
        moment = F.silu(self.late(F.silu(self.early(waves(t, self.frequencies)))))
        high = self.down1(self.stem(x), moment, states, looks)
        low = self.down2(self.halve(high), moment, states, looks)
        h = self.after(self.middle(low, moment, states, looks), moment)
        h = self.up2(torch.cat([h, low], 1), moment, states, looks)
        h = self.enlarge(F.interpolate(h, scale_factor=2.0))
        h = self.up1(torch.cat([h, high], 1), moment, states, looks)
        noise: Tensor = self.head(F.silu(self.norm(h)))
        return noise, tuple(looks)


def waves(t: Tensor, count: int) -> Tensor:
    """Sines and cosines of the step, of wavelengths from 2 pi to 2 pi 10,000 (Ho et al. 2020)."""
    rates = torch.exp(-math.log(10_000) * torch.arange(count // 2, device=t.device) * 2 / count)
    angles = t.float()[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], 1)


class Painter(nn.Module):
    """Text encoder and UNet; ``forward`` says the noise in a latent, given states of a prompt.

    ``words`` (its tokenizer) and ``schedule`` (of the noise it learns to see) go with the network
    but are no weights. ``bound`` is that of the latents of an image.
    """

    bound: float | None = 1.0

    def __init__(self, sizes: Sizes, words: Any = None, schedule: Any = None) -> None:
        super().__init__()
        self.sizes, self.words, self.schedule = sizes, words, schedule
        self.text = TextEncoder(sizes.words, sizes.limit, sizes.text)
        self.unet = UNet(sizes)

    @property
    def latent(self) -> tuple[int, int, int]:
        """Channels, height and width of a latent."""
        return self.sizes.latent

    @property
    def readers(self) -> list[tuple[nn.Linear, nn.Linear]]:
        """The key and value maps of each cross-attention layer: all that a prompt passes through.

        An edit in closed form replaces their weights.
        """
        layers = (layer for layer in self.modules() if isinstance(layer, Cross))
        return [(layer.key, layer.value) for layer in layers]

    def encode(self, tokens: Tensor) -> Tensor:
        """The state of each token of each prompt: (prompts, tokens, width)."""
        states: Tensor = self.text(tokens)
        return states

    def forward(self, x: Tensor, t: Tensor, states: Tensor) -> Tensor:
        """The noise in the latents ``x`` at the steps ``t``."""
        return self.attend(x, t, states)[0]

    def attend(self, x: Tensor, t: Tensor, states: Tensor) -> tuple[Tensor, tuple[Look, ...]]:
        """The noise, and what each cross-attention layer did, from the input to the output.

        All of it belongs to this one pass and carries gradients; nothing is kept in the network.
        """
        noise, looks = self.unet(x, t, states)
        return noise, looks

    def hide(self, images: Images) -> Tensor:
        """Images in [0, 1] -> latents in [-1, 1]; exact, and undone by ``show``."""
        return F.pixel_unshuffle(2 * images - 1, self.sizes.fold)

    def show(self, latents: Tensor) -> Images:
        """Latents -> images, cut off at [0, 1]."""
        return (F.pixel_shuffle(latents, self.sizes.fold) / 2 + 0.5).clamp(0, 1)


def painter(sizes: Sizes, seed: Seed, words: Any = None, schedule: Any = None) -> Painter:
    """A fresh painter; its first weights depend on the seed alone.

    What ends a residual branch starts at zero, so that the network starts as a shallow one.
    """
    with torch.random.fork_rng(devices=[]):  # layers draw before we do; the fork confines it
        net = Painter(sizes, words, schedule)
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
