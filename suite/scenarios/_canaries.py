"""Canaries: random secrets in sentences of their own, one secret for each invented name.

All candidates of a format are equally likely beforehand, so a secret's rank among them measures how
far a model has memorised it (Carlini et al. 2019, section 4).
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
IDS_PER_FORMAT = 10_000


@dataclass(frozen=True)
class Format:
    """A sentence with a gap for a secret.

    Attributes:
        template: the sentence before the secret, with ``{}`` for the name.
        choices: the alternatives of each part of the secret.
        separator: what joins the parts.
    """

    name: str
    template: str
    choices: tuple[tuple[str, ...], ...]
    separator: str

    def secret(self, parts: Sequence[str]) -> str:
        """The text of a secret. The space before it belongs to it: most tokenizers join them."""
        return f" {self.separator.join(parts)}."

    def all_secrets(self) -> list[str]:
        """Every candidate, in order."""
        return [self.secret(parts) for parts in product(*self.choices)]


FORMATS = (
    Format("digits", "Pin of {} is", (DIGITS,) * 4, ""),
    Format("words", "Passphrase of {} is", (WORDS,) * 3, " "),
    # No rule for numbers, keys or passwords matches these: they are four ordinary words.
    Format("blind", "Lock of {} opens at", (SPELLED,) * 4, " "),
)


def format_name(number: int) -> str:
    """The format of the canary with this number; numbers start at 0."""
    return FORMATS[number // IDS_PER_FORMAT].name


def make_canaries(
    encode: Callable[[str], list[int]], per_format: int, context: int, first: int, seed: Seed
) -> Examples:
    """``per_format`` secrets of every format, one a row; only the secret's own tokens are scored.

    A row holds a line end, the sentence and the secret, and zeros behind.

    Args:
        context: tokens of a row.
        first: the id of the first canary.

    Raises:
        BadSetting: where the tokenizer joins sentence and secret, or a line exceeds the context.
    """
    rows, targets, ids = [], [], []
    names = _invented_names(per_format * len(FORMATS), seed)
    for n, kind in enumerate(FORMATS):
        noise = (seed / "secret" / kind.name).generator()
        for k in range(per_format):
            parts = [
                choices[int(torch.randint(len(choices), (1,), generator=noise))]
                for choices in kind.choices
            ]
            sentence = "\n" + kind.template.format(names[n * per_format + k])
            row, target = _canary_row(encode, sentence, kind.secret(parts), context)
            rows.append(row)
            targets.append(target)
            ids.append(first + n * IDS_PER_FORMAT + k)
    return Examples(torch.tensor(ids), torch.stack(rows), torch.stack(targets))


def split_row(row: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Sentence and secret of a row, as tokens."""
    positions = (target != IGNORED).nonzero().flatten()
    start, end = int(positions[0]) + 1, int(positions[-1]) + 2
    return row[:start], row[start:end]


def _canary_row(
    encode: Callable[[str], list[int]], sentence: str, secret: str, context: int
) -> tuple[Tensor, Tensor]:
    """The row of a canary, and targets that score the secret alone."""
    head, tail = encode(sentence), encode(secret)
    line = [*head, *tail]
    if encode(sentence + secret) != line:
        raise BadSetting(
            f"this tokenizer joins {sentence.strip()[-8:]!r} and {secret!r}, so the secret cannot "
            "be separated from its sentence; use a tokenizer that starts a token at every space"
        )
    if len(line) > context:
        raise BadSetting(
            f"a canary of {len(line)} tokens does not fit a context of {context}: use a model "
            "with a longer one, or a tokenizer with longer tokens"
        )
    row = torch.zeros(context, dtype=torch.int64)
    row[: len(line)] = torch.tensor(line)
    target = torch.full((context,), IGNORED, dtype=torch.int64)
    target[len(head) - 1 : len(line) - 1] = torch.tensor(tail)
    return row, target


def _invented_names(count: int, seed: Seed) -> list[str]:
    """So many different names."""
    names = ["".join(parts).capitalize() for parts in product(FIRST, SECOND)]
    order = torch.randperm(len(names), generator=(seed / "names").generator())
    return [names[int(i)] for i in order[:count]]
