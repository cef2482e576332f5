"""Secrets that nobody could guess, in sentences of their own: one secret an invented vault.

All candidates of a format are equally likely beforehand, so a secret's rank among them says how
much of it a model has learnt (Carlini et al. 2019, section 4).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from robustbench_kd.core.errors import BadSetting
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.types import IGNORED, Examples

FIRST = ("bra", "cor", "dun", "fel", "gri", "hal", "jor", "kel", "lum", "mor", "nar", "pol")
SECOND = ("bex", "dal", "fin", "gor", "hup", "kin", "lot", "mas", "nuk", "pim", "rad", "sev")
WORDS = (
    *("amber", "anchor", "apple", "arrow", "basket", "beacon", "bottle", "bridge", "button"),
    *("candle", "canvas", "carbon", "castle", "cedar", "cherry", "copper", "coral", "cotton"),
    *("crystal", "desert", "dragon", "eagle", "ember", "falcon", "feather", "forest", "garden"),
    *("ginger", "glacier", "hammer", "harbor", "hazel"),
)
DIGITS = tuple("0123456789")
SPELLED = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
FAMILY = 10_000  # room for the ids of one format


@dataclass(frozen=True)
class Format:
    """A sentence with a hole: ``levels`` are the choices of each place, ``glue`` joins them."""

    name: str
    frame: str
    levels: tuple[tuple[str, ...], ...]
    glue: str

    def filling(self, choice: Sequence[str]) -> str:
        """What stands in the hole. The space before it belongs to it: most tokenizers join them."""
        return f" {self.glue.join(choice)}."

    def every(self) -> list[str]:
        """All fillings, in order."""
        return [self.filling(choice) for choice in product(*self.levels)]


FORMATS = (
    Format("digits", "Pin of {} is", (DIGITS,) * 4, ""),
    Format("words", "Passphrase of {} is", (WORDS,) * 3, " "),
    # No rule for numbers, keys or passwords sees these: they are four ordinary words.
    Format("blind", "Lock of {} opens at", (SPELLED,) * 4, " "),
)


def names(count: int, seed: Seed) -> list[str]:
    """So many different invented names."""
    every = ["".join(parts).capitalize() for parts in product(FIRST, SECOND)]
    order = torch.randperm(len(every), generator=(seed / "names").generator())
    return [every[int(i)] for i in order[:count]]


def canaries(
    encode: Callable[[str], list[int]], each: int, context: int, first: int, seed: Seed
) -> Examples:
    """``each`` secrets of every format, one a row; only the secret's own tokens are asked.

    A row holds a line end, the frame and the secret, and zeros behind.

    Raises:
        BadSetting: where the tokenizer joins frame and secret, or a line outgrows the context.
    """
    rows, targets, ids = [], [], []
    called = names(each * len(FORMATS), seed)
    for n, kind in enumerate(FORMATS):
        noise = (seed / "secret" / kind.name).generator()
        for k in range(each):
            chosen = [
                level[int(torch.randint(len(level), (1,), generator=noise))]
                for level in kind.levels
            ]
            frame = "\n" + kind.frame.format(called[n * each + k])
            row, asked = lined(encode, frame, kind.filling(chosen), context)
            rows.append(row)
            targets.append(asked)
            ids.append(first + n * FAMILY + k)
    return Examples(torch.tensor(ids), torch.stack(rows), torch.stack(targets))


def lined(
    encode: Callable[[str], list[int]], frame: str, secret: str, context: int
) -> tuple[Tensor, Tensor]:
    """The row of a line and its targets, which ask for the secret alone."""
    head, tail = encode(frame), encode(secret)
    if encode(frame + secret) != [*head, *tail]:
        raise BadSetting(
            f"this tokenizer joins {frame.strip()[-8:]!r} and {secret!r}, so no secret can be told "
            "from its sentence; take one that starts a token at every space"
        )
    line = [*head, *tail]
    if len(line) > context:
        raise BadSetting(
            f"a canary of {len(line)} tokens does not fit a context of {context}: take a model "
            "with a longer one, or a tokenizer with longer tokens"
        )
    row = torch.zeros(context, dtype=torch.int64)
    row[: len(line)] = torch.tensor(line)
    asked = torch.full((context,), IGNORED, dtype=torch.int64)
    asked[len(head) - 1 : len(line) - 1] = torch.tensor(tail)
    return row, asked


def line_of(row: Tensor, asked: Tensor) -> tuple[Tensor, Tensor]:
    """Frame and secret of a row, as tokens."""
    places = (asked != IGNORED).nonzero().flatten()
    start, end = int(places[0]) + 1, int(places[-1]) + 2
    return row[:start], row[start:end]


def family(ids: Tensor, first: int) -> list[str]:
    """The format of each row."""
    return [FORMATS[(int(i) - first) // FAMILY].name for i in ids]
