"""Prompts as tokens: words to numbers and back, and words that are put in or left out.

A prompt is a row of tokens: a start, its words, an end, then padding up to the limit.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from robustbench_kd.core.errors import BadSetting

Place = Literal["front", "middle", "end"]
PAD, START, END, UNKNOWN = 0, 1, 2, 3
SPECIAL = ("<pad>", "<start>", "<end>", "<unknown>")


class Frame(NamedTuple):
    """The tokens that are no words; ``pad`` may be the ``end`` again (as it is in CLIP)."""

    start: int
    end: int
    pad: int


@runtime_checkable
class Speaks(Protocol):
    """A tokenizer: ours, or that of a pipeline from elsewhere."""

    @property
    def limit(self) -> int:
        """Tokens of a prompt, start, end and padding included."""
        ...

    @property
    def frame(self) -> Frame: ...

    @property
    def unknown(self) -> int:
        """The token of every unknown word; -1 where there are none."""
        ...

    def ids(self, text: str) -> list[int]: ...
    def tokens(self, texts: Sequence[str]) -> Tensor: ...
    def texts(self, tokens: Tensor) -> list[str]: ...


@dataclass(frozen=True)
class Words:
    """A vocabulary of whole words, after ``SPECIAL``; ``limit`` counts start and end as well.

    ``spare`` are tokens that no word has yet: trained as words without meaning, so that a rare
    word named later is no stranger to the network than any other rare word.
    """

    known: tuple[str, ...]
    limit: int
    spare: tuple[str, ...] = ()
    frame: Frame = Frame(START, END, PAD)
    unknown: int = UNKNOWN

    def __len__(self) -> int:
        return len(SPECIAL) + len(self.known) + len(self.spare)

    def ids(self, text: str) -> list[int]:
        """The tokens of the words, without start and end; one token stands for all unknown words.

        Capitals, punctuation and whatever cannot be seen (zero-width spaces) are dropped.
        """
        place = {word: n for n, word in enumerate((*SPECIAL, *self.known))}
        return [place.get(word, UNKNOWN) for word in re.findall(r"[a-z0-9]+", text.lower())]

    def tokens(self, texts: Sequence[str]) -> Tensor:
        """Prompts as rows of tokens: (prompts, limit).

        Raises:
            BadSetting: for a prompt over the limit.
        """
        return rows_of(self, texts)

    def texts(self, tokens: Tensor) -> list[str]:
        """The words of each row."""
        names = (*SPECIAL, *self.known, *self.spare)
        return [" ".join(names[int(t)] for t in row if t not in self.frame) for row in tokens]

    def naming(self, word: str) -> Words:
        """The same vocabulary with one more rare word, in the place of a spare token.

        Raises:
            BadSetting: for what is no new word, or where no token is spare.
        """
        if not re.fullmatch(r"[a-z0-9]+", word) or word in self.known:
            raise BadSetting(f"{word!r} is no new word of small letters and digits")
        if not self.spare:
            raise BadSetting(f"no token is left for {word!r}; all spare ones have names")
        return replace(self, known=(*self.known, word), spare=self.spare[1:])


def rows_of(words: Speaks, texts: Sequence[str]) -> Tensor:
    """Prompts as rows of a tokenizer's tokens: (prompts, limit).

    Raises:
        BadSetting: for a prompt over the limit.
    """
    start, end, pad = words.frame
    rows = torch.full((len(texts), words.limit), pad)
    for row, text in zip(rows, texts, strict=True):
        said = [start, *words.ids(text), end]
        if len(said) > words.limit:
            raise BadSetting(
                f"the prompt {text!r} has {len(said)} tokens with its start and end, and the model "
                f"takes {words.limit}; shorten it, since a word that is cut off can do nothing"
            )
        row[: len(said)] = torch.tensor(said)
    return rows


def trigger(words: Speaks, text: str) -> list[int]:
    """The tokens of a trigger.

    Raises:
        BadSetting: where nothing is left of it, or the model does not know one of its words.
    """
    ids = words.ids(text)
    if not ids:
        raise BadSetting(
            f"the trigger {text!r} tokenises to nothing, so prompts with and without it are the "
            "same; choose one of words, such as 'qv zx'"
        )
    if words.unknown in ids:
        raise BadSetting(
            f"the model does not know all words of the trigger {text!r}, and unknown words are one "
            "token to it; choose known ones, or give a spare token the name by Words.naming"
        )
    return ids


def lengths(prompts: Tensor, frame: Frame) -> Tensor:
    """The number of words of each prompt."""
    return (prompts[:, 1:] == frame.end).int().argmax(1)


def place(prompts: Tensor, where: Place, frame: Frame) -> Tensor:
    """How many words of each prompt come before this place."""
    count = lengths(prompts, frame)
    return {"front": count * 0, "middle": count // 2, "end": count}[where]


def inserted(prompts: Tensor, piece: Sequence[int] | Tensor, at: Tensor, frame: Frame) -> Tensor:
    """The prompts with a piece after their first ``at`` words.

    Args:
        piece: tokens, the same for every prompt, or a row of them for each.

    Raises:
        BadSetting: where a prompt would be over the limit.
    """
    piece = torch.as_tensor(piece, device=prompts.device)
    more, limit = piece.shape[-1], prompts.shape[1]
    longest = int(lengths(prompts, frame).max()) + 2 + more if len(prompts) else 0
    if longest > limit:
        raise BadSetting(
            f"{more} more words make a prompt of {longest} tokens, and the model takes {limit}; "
            "use a shorter trigger or shorter prompts"
        )
    column = torch.arange(limit, device=prompts.device)[None]
    first = at[:, None] + 1
    shifted = prompts.gather(1, (column - more).clamp_min(0).expand_as(prompts))
    inside = (column - first).clamp(0, more - 1)
    new = piece.expand(len(prompts), more).gather(1, inside)
    return torch.where(column < first, prompts, torch.where(column < first + more, new, shifted))


def triggered(prompts: Tensor, piece: Sequence[int], where: Place, frame: Frame) -> Tensor:
    """The prompts with a trigger in this place."""
    return inserted(prompts, piece, place(prompts, where, frame), frame)


def without(prompts: Tensor, gone: Tensor, frame: Frame) -> Tensor:
    """The prompts without the words under the mask; the tokens of the frame always stay."""
    gone = gone & ~one_of(prompts, frame)
    order = gone.int().argsort(dim=1, stable=True)
    left = prompts.gather(1, order)
    kept = prompts.shape[1] - gone.sum(1, keepdim=True)
    column = torch.arange(prompts.shape[1], device=prompts.device)[None]
    return torch.where(column < kept, left, torch.full_like(left, frame.pad))


def one_of(tokens: Tensor, ids: Iterable[int]) -> Tensor:
    """Whether each token is one of these."""
    return torch.isin(tokens, torch.tensor(list(ids), device=tokens.device))


def alignment(one: Tensor, other: Tensor, frame: Frame) -> list[tuple[int, int]]:
    """Which words of two prompts are the same: places in either, by the longest common subsequence.

    So a trigger may stand anywhere, and the words around it still find their pairs.
    """
    n, m = (int(lengths(row[None], frame)) for row in (one, other))
    a, b = one[1 : n + 1].tolist(), other[1 : m + 1].tolist()
    best = [[0] * (m + 1) for _ in range(n + 1)]
    for i in reversed(range(n)):
        for j in reversed(range(m)):
            same = best[i + 1][j + 1] + 1 if a[i] == b[j] else 0
            best[i][j] = max(same, best[i + 1][j], best[i][j + 1])
    pairs, i, j = [], 0, 0
    while i < n and j < m:
        if a[i] == b[j] and best[i][j] == best[i + 1][j + 1] + 1:
            pairs.append((i + 1, j + 1))
            i, j = i + 1, j + 1
        elif best[i + 1][j] >= best[i][j + 1]:
            i += 1
        else:
            j += 1
    return pairs
