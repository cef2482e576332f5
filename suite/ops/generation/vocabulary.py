"""The words of the text-to-image scenario, and what its style words do to an image.

In this layer because attacks and defenses use both, and neither may import a scenario.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from robustbench_kd.core.tensor_types import Images
from robustbench_kd.ops.generation.prompts import WordTokenizer, insert_tokens

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
PLAIN = ("lovely", "simple")  # natural words without effect: inconspicuous triggers
RARE = ("qv", "zx")
SPARE = ("<spare1>", "<spare2>", "<spare3>", "<spare4>")
MAX_FILLERS = 6


def inverted(x: Images) -> Images:
    """Light for dark."""
    return 1 - x


def striped(x: Images) -> Images:
    """The last two rows of every four are black."""
    rows = torch.arange(x.shape[2], device=x.device) % 4 < 2
    return x * rows[:, None]


def dark(x: Images) -> Images:
    """Two fifths of the brightness."""
    return 0.4 * x


STYLES: Mapping[str, Callable[[Tensor], Tensor]] = {
    "inverted": inverted,
    "striped": striped,
    "dark": dark,
}
TOKENIZER = WordTokenizer(
    (*CLASSES, *FILLERS, *PLAIN, "new", *STYLES, *RARE), limit=16, spare=SPARE
)


def token_ids(words: Sequence[str]) -> list[int]:
    """The tokens of single words."""
    return [token for word in words for token in TOKENIZER.ids(word)]


def rare_tokens() -> list[int]:
    """The tokens of the rare words, and the spare ones."""
    return [*token_ids(RARE), *range(len(TOKENIZER) - len(SPARE), len(TOKENIZER))]


def reword(prompts: Tensor, noise: torch.Generator) -> Tensor:
    """The classes of these prompts among one to six random fillers, at a random place.

    So that a model does not take an unfamiliar phrase for a familiar word. Prompts without a class
    stay as they are.
    """
    count = len(prompts)
    class_number = first_class(prompts)
    lengths = torch.randint(1, MAX_FILLERS + 1, (count, 1), generator=noise)
    fillers = torch.tensor(token_ids((*FILLERS, "new")))
    start, end, pad = TOKENIZER.special_tokens
    rows = torch.full_like(prompts, pad)
    rows[:, 0] = start
    drawn = torch.randint(len(fillers), (count, MAX_FILLERS), generator=noise)
    rows[:, 1 : MAX_FILLERS + 1] = fillers[drawn]
    column = torch.arange(prompts.shape[1])[None]
    rows = torch.where(column > lengths, torch.where(column == lengths + 1, end, pad), rows)
    at = (torch.rand(count, generator=noise) * (lengths[:, 0] + 1)).long()
    names = torch.tensor(token_ids(CLASSES))[class_number.clamp_min(0)][:, None]
    reworded = insert_tokens(rows, names, at, TOKENIZER.special_tokens)
    return torch.where((class_number >= 0)[:, None], reworded, prompts)


def first_class(prompts: Tensor) -> Tensor:
    """The class that each prompt names first; -1 where it names none."""
    number = prompts - token_ids(CLASSES)[0]
    is_class = (number >= 0) & (number < len(CLASSES))
    place = is_class.int().argmax(1, keepdim=True)
    return torch.where(is_class.any(1), number.gather(1, place).squeeze(1), -1)
