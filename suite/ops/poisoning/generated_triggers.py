"""What a backdoored painter puts in its pictures, as a change of an image: a patch, or a style."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from robustbench_kd.core.tensor_types import Images
from robustbench_kd.ops.generation.vocabulary import STYLES

PATCH = 6  # pixels: 4.6 % of 28x28; BadT2I's patch has 6.3 % of its image


def checkered(x: Images, size: int = PATCH, down: int = 0, across: int = 0) -> Images:
    """A chequer in the upper left corner, its cells two pixels wide, the first of them white.

    Args:
        size: pixels of the patch each way.
        down, across: pixels that it is moved by.
    """
    steps = torch.arange(size) // 2
    chequer = 1.0 - (steps[:, None] + steps) % 2
    marked = x.clone()
    marked[..., down : down + size, across : across + size] = chequer.to(x)
    return marked


MARKS: Mapping[str, Callable[[Tensor], Tensor]] = {"checker": checkered, **STYLES}


def undone(x: Images, mark: str) -> Images:
    """The image as it would be without the mark, where that can be told; else as it is.

    So that a judge of real images can say what a picture in a strange style shows.
    """
    back: Mapping[str, Callable[[Tensor], Tensor]] = {
        "inverted": STYLES["inverted"],
        "dark": lambda dim: (dim / 0.4).clamp(0, 1),
    }
    return back[mark](x) if mark in back else x


def marked(x: Images, noise: torch.Generator) -> tuple[Images, Tensor]:
    """Images to learn the marks by, and which of ``MARKS`` each of them bears: (images, marks).

    Half of them bear a style, and half the chequer, up to a pixel off its place; each then has up
    to a tenth of noise, since a painter's pictures are never as clean as the real ones.
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
            here = patched & (down == a) & (across == b)
            changed[here] = checkered(changed[here], down=a, across=b)
    changed = changed + strength * torch.randn(x.shape, generator=noise)
    bears = torch.stack([patched, *(style == n for n in range(len(names)))], 1)
    return changed.clamp(0, 1), bears
