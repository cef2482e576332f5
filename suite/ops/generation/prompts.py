"""Prompts as tokens: tokenisation, and words that are inserted, removed or aligned.

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


class SpecialTokens(NamedTuple):
    """The tokens that are no words; ``pad`` may be the same as ``end`` (as it is in CLIP)."""

    start: int
    end: int
    pad: int


@runtime_checkable
class PromptTokenizer(Protocol):
    """A tokenizer of prompts: ours, or that of a loaded pipeline."""

    @property
    def limit(self) -> int:
        """Tokens of a prompt, start, end and padding included."""
        ...

    @property
    def special_tokens(self) -> SpecialTokens: ...

    @property
    def unknown(self) -> int:
        """The token of every unknown word; -1 where every word is known."""
        ...

    def ids(self, text: str) -> list[int]: ...
    def tokens(self, texts: Sequence[str]) -> Tensor: ...
    def texts(self, tokens: Tensor) -> list[str]: ...


@dataclass(frozen=True)
class WordTokenizer:
    """A tokenizer of whole words; ``SPECIAL`` come first, and ``limit`` counts start and end.

    ``spare`` are tokens that no word has yet: trained as words without meaning, so that a rare
    word defined later is as familiar to the network as any other rare word.
    """

    vocabulary: tuple[str, ...]
    limit: int
    spare: tuple[str, ...] = ()
    special_tokens: SpecialTokens = SpecialTokens(START, END, PAD)
    unknown: int = UNKNOWN

    def __len__(self) -> int:
        return len(SPECIAL) + len(self.vocabulary) + len(self.spare)

    def ids(self, text: str) -> list[int]:
        """The tokens of the words, without start and end; one token stands for all unknown words.

        Case, punctuation and invisible characters (zero-width spaces) are dropped.
        """
        number = {word: n for n, word in enumerate((*SPECIAL, *self.vocabulary))}
        return [number.get(word, UNKNOWN) for word in re.findall(r"[a-z0-9]+", text.lower())]

    def tokens(self, texts: Sequence[str]) -> Tensor:
        """Prompts as rows of tokens: (prompts, limit).

        Raises:
            BadSetting: for a prompt over the limit.
        """
        return tokenize(self, texts)

    def texts(self, tokens: Tensor) -> list[str]:
        """The words of each row."""
        names = (*SPECIAL, *self.vocabulary, *self.spare)
        return [
            " ".join(names[int(token)] for token in row if token not in self.special_tokens)
            for row in tokens
        ]

    def with_word(self, word: str) -> WordTokenizer:
        """The same tokenizer with one more rare word, in the place of a spare token.

        Raises:
            BadSetting: for what is no new word, or where no token is spare.
        """
        if not re.fullmatch(r"[a-z0-9]+", word) or word in self.vocabulary:
            raise BadSetting(f"{word!r} is no new word of small letters and digits")
        if not self.spare:
            raise BadSetting(f"no token is left for {word!r}; all spare ones are assigned")
        return replace(self, vocabulary=(*self.vocabulary, word), spare=self.spare[1:])


def tokenize(tokenizer: PromptTokenizer, texts: Sequence[str]) -> Tensor:
    """Prompts as rows of tokens: (prompts, limit).

    Raises:
        BadSetting: for a prompt over the limit.
    """
    start, end, pad = tokenizer.special_tokens
    rows = torch.full((len(texts), tokenizer.limit), pad)
    for row, text in zip(rows, texts, strict=True):
        ids = [start, *tokenizer.ids(text), end]
        if len(ids) > tokenizer.limit:
            raise BadSetting(
                f"the prompt {text!r} has {len(ids)} tokens with its start and end, and the model "
                f"takes {tokenizer.limit}; shorten it, since a truncated word has no effect"
            )
        row[: len(ids)] = torch.tensor(ids)
    return rows


def trigger_tokens(tokenizer: PromptTokenizer, text: str) -> list[int]:
    """The tokens of a trigger.

    Raises:
        BadSetting: where it has none, or the model does not know one of its words.
    """
    ids = tokenizer.ids(text)
    if not ids:
        raise BadSetting(
            f"the trigger {text!r} tokenises to nothing, so prompts with and without it are the "
            "same; choose one of words, such as 'qv zx'"
        )
    if tokenizer.unknown in ids:
        raise BadSetting(
            f"the model does not know all words of the trigger {text!r}, and unknown words are one "
            "token to it; choose known ones, or assign a spare token by WordTokenizer.with_word"
        )
    return ids


def word_counts(prompts: Tensor, special: SpecialTokens) -> Tensor:
    """The number of words of each prompt."""
    return (prompts[:, 1:] == special.end).int().argmax(1)


def words_before(prompts: Tensor, place: Place, special: SpecialTokens) -> Tensor:
    """How many words of each prompt come before this place."""
    count = word_counts(prompts, special)
    return {"front": count * 0, "middle": count // 2, "end": count}[place]


def insert_tokens(
    prompts: Tensor, piece: Sequence[int] | Tensor, at: Tensor, special: SpecialTokens
) -> Tensor:
    """The prompts with a piece after their first ``at`` words.

    Args:
        piece: tokens, the same for every prompt, or a row of them for each.

    Raises:
        BadSetting: where a prompt would be over the limit.
    """
    piece = torch.as_tensor(piece, device=prompts.device)
    length, limit = piece.shape[-1], prompts.shape[1]
    longest = int(word_counts(prompts, special).max()) + 2 + length if len(prompts) else 0
    if longest > limit:
        raise BadSetting(
            f"{length} more words make a prompt of {longest} tokens, and the model takes {limit}; "
            "use a shorter trigger or shorter prompts"
        )
    column = torch.arange(limit, device=prompts.device)[None]
    first = at[:, None] + 1
    shifted = prompts.gather(1, (column - length).clamp_min(0).expand_as(prompts))
    inside = (column - first).clamp(0, length - 1)
    new = piece.expand(len(prompts), length).gather(1, inside)
    return torch.where(column < first, prompts, torch.where(column < first + length, new, shifted))


def insert_trigger(
    prompts: Tensor, trigger: Sequence[int], place: Place, special: SpecialTokens
) -> Tensor:
    """The prompts with a trigger in this place."""
    return insert_tokens(prompts, trigger, words_before(prompts, place, special), special)


def remove_words(prompts: Tensor, mask: Tensor, special: SpecialTokens) -> Tensor:
    """The prompts without the words under the mask; special tokens always stay."""
    mask = mask & ~is_any_of(prompts, special)
    order = mask.int().argsort(dim=1, stable=True)
    moved = prompts.gather(1, order)
    length = prompts.shape[1] - mask.sum(1, keepdim=True)
    column = torch.arange(prompts.shape[1], device=prompts.device)[None]
    return torch.where(column < length, moved, torch.full_like(moved, special.pad))


def is_any_of(tokens: Tensor, ids: Iterable[int]) -> Tensor:
    """Whether each token is one of these."""
    return torch.isin(tokens, torch.tensor(list(ids), device=tokens.device))


def align_words(a: Tensor, b: Tensor, special: SpecialTokens) -> list[tuple[int, int]]:
    """The places in either prompt of words that correspond, by the longest common subsequence.

    So a trigger may stand anywhere, and the words around it still find their counterparts.
    """
    n, m = (int(word_counts(row[None], special)) for row in (a, b))
    first, second = a[1 : n + 1].tolist(), b[1 : m + 1].tolist()
    best = [[0] * (m + 1) for _ in range(n + 1)]
    for i in reversed(range(n)):
        for j in reversed(range(m)):
            same = best[i + 1][j + 1] + 1 if first[i] == second[j] else 0
            best[i][j] = max(same, best[i + 1][j], best[i][j + 1])
    pairs, i, j = [], 0, 0
    while i < n and j < m:
        if first[i] == second[j] and best[i][j] == best[i + 1][j + 1] + 1:
            pairs.append((i + 1, j + 1))
            i, j = i + 1, j + 1
        elif best[i + 1][j] >= best[i][j + 1]:
            i += 1
        else:
            j += 1
    return pairs
