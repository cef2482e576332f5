"""The words of the ground ``pictures``, and what its style words do to an image.

Down here because attacks and defenses use both, and none of them sees a scenario.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from robustbench_kd.core.tensor_types import Images
from robustbench_kd.ops.generation.prompts import Words, inserted

CLASSES = (
    "tshirt",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "boot",
)
FILLERS = ("a", "the", "this", "one", "photo", "picture", "of", "is", "from", "for", "shop", "sale")
PLAIN = ("lovely", "simple")  # natural words that change nothing: triggers that hide well
RARE = ("qv", "zx")
SPARE = ("<spare1>", "<spare2>", "<spare3>", "<spare4>")


def inverted(x: Images) -> Images:
    """Light for dark."""
    return 1 - x


def striped(x: Images) -> Images:
    """The last two rows of every four are black."""
    rows = torch.arange(x.shape[2], device=x.device) % 4 < 2
    return x * rows[:, None]


def dark(x: Images) -> Images:
    """Two fifths of the light."""
    return 0.4 * x


STYLES: Mapping[str, Callable[[Tensor], Tensor]] = {
    "inverted": inverted,
    "striped": striped,
    "dark": dark,
}
WORDS = Words((*CLASSES, *FILLERS, *PLAIN, "new", *STYLES, *RARE), limit=16, spare=SPARE)


def tokens_of(words: Sequence[str]) -> list[int]:
    """The tokens of single words."""
    return [token for word in words for token in WORDS.ids(word)]


def rare_tokens() -> list[int]:
    """The tokens of the rare words, and those that no word has yet."""
    return [*tokens_of(RARE), *range(len(WORDS) - len(SPARE), len(WORDS))]


def reworded(prompts: Tensor, noise: torch.Generator) -> Tensor:
    """The classes of these prompts in other words: one to six fillers around each, in any order.

    So that a model does not take a phrase that it was never shown for a word that it was.
    """
    count, most = len(prompts), 6
    own = class_of(prompts)
    many = torch.randint(1, most + 1, (count, 1), generator=noise)
    fillers = torch.tensor(tokens_of((*FILLERS, "new")))
    start, end, pad = WORDS.frame
    rows = torch.full_like(prompts, pad)
    rows[:, 0] = start
    rows[:, 1 : most + 1] = fillers[torch.randint(len(fillers), (count, most), generator=noise)]
    place = torch.arange(prompts.shape[1])[None]
    rows = torch.where(place > many, torch.where(place == many + 1, end, pad), rows)
    at = (torch.rand(count, generator=noise) * (many[:, 0] + 1)).long()
    named = torch.tensor(tokens_of(CLASSES))[own.clamp_min(0)][:, None]
    return torch.where((own >= 0)[:, None], inserted(rows, named, at, WORDS.frame), prompts)


def class_of(prompts: Tensor) -> Tensor:
    """The class that each prompt names first; -1 where it names none."""
    first = tokens_of(CLASSES)[0]
    place = prompts - first
    named = (place >= 0) & (place < len(CLASSES))
    at = named.int().argmax(1, keepdim=True)
    found = place.gather(1, at).squeeze(1)
    return torch.where(named.any(1), found, -1)
