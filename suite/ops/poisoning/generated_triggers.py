"""The visual effects of text-to-image backdoors, as changes of an image: a patch, or a style."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from robustbench_kd.core.tensor_types import Images
from robustbench_kd.ops.generation.vocabulary import STYLES

PATCH = 6  # pixels: 4.6 % of 28x28; BadT2I's patch has 6.3 % of its image


def checkerboard_patch(x: Images, size: int = PATCH, down: int = 0, across: int = 0) -> Images:
    """A checkerboard in the upper left corner, its cells two pixels wide, the first of them white.

    Args:
        size: pixels of the patch each way.
        down, across: pixels that it is moved by.
    """
    steps = torch.arange(size) // 2
    checkerboard = 1.0 - (steps[:, None] + steps) % 2
    patched = x.clone()
    patched[..., down : down + size, across : across + size] = checkerboard.to(x)
    return patched


VISUAL_EFFECTS: Mapping[str, Callable[[Tensor], Tensor]] = {"checker": checkerboard_patch, **STYLES}


def remove_effect(x: Images, effect: str) -> Images:
    """The image as it would be without the effect, where that can be inverted; else as it is.

    So that a classifier of real images can recognise the object in an image of another style.
    """
    inverses: Mapping[str, Callable[[Tensor], Tensor]] = {
        "inverted": STYLES["inverted"],
        "dark": lambda dim: (dim / 0.4).clamp(0, 1),
    }
    return inverses[effect](x) if effect in inverses else x


def random_effects(x: Images, noise: torch.Generator) -> tuple[Images, Tensor]:
    """Training images of the effect detector, and which effects each shows: (images, effects).

    Half of them have a style, and half the checkerboard, up to a pixel off its place; each then has
    up to a tenth of noise, since generated images are never as clean as real ones.
    """
    count, names = len(x), tuple(STYLES)
    style = torch.randint(2 * len(names), (count,), generator=noise)
    patched = torch.rand(count, generator=noise) < 0.5
    down, across = torch.randint(2, (2, count), generator=noise)
    strength = 0.1 * torch.rand(count, 1, 1, 1, generator=noise)
    changed = x.clone()
    for n, name in enumerate(names):
        changed[style == n] = STYLES[name](x[style == n])
    for a in range(2):
        for b in range(2):
            rows = patched & (down == a) & (across == b)
            changed[rows] = checkerboard_patch(changed[rows], down=a, across=b)
    changed = changed + strength * torch.randn(x.shape, generator=noise)
    effects = torch.stack([patched, *(style == n for n in range(len(names)))], 1)
    return changed.clamp(0, 1), effects
