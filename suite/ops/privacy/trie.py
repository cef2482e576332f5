"""All candidates for a secret as a tree of tokens, so that shared prefixes are scored once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor

from robustbench_kd.core.errors import BadSetting
from robustbench_kd.core.seed import Seed

MAX_CANDIDATES = 2**62  # candidates are numbered by int64
BATCH = 10_000  # candidates that are written out at a time


class Children(NamedTuple):
    """The children of a batch of nodes of one depth; one entry a child, all of one length.

    Attributes:
        parents: places in the batch.
        tokens: of the children.
        nodes: the children's numbers at their own depth.
        ends: the number of the candidate that ends there, or -1 where the path continues.
    """

    parents: Tensor
    tokens: Tensor
    nodes: Tensor
    ends: Tensor


@dataclass(frozen=True)
class Trie:
    """Distinct candidates, none the prefix of another: a list of sequences, or a product of levels.

    Made by ``of`` or ``product``. Candidates are numbered in the order of iteration; a product of
    levels never writes them down. The root is node 0 at depth 0.
    """

    sequences: tuple[tuple[int, ...], ...] = ()
    levels: tuple[tuple[int, ...], ...] = ()

    @classmethod
    def of(cls, candidates: Iterable[Sequence[int]]) -> Trie:
        """The space of these candidates, which may differ in length.

        Raises:
            BadSetting: where there are none, or one is empty, duplicated or the prefix of another.
        """
        sequences = sorted(tuple(int(token) for token in tokens) for tokens in candidates)
        if not sequences or not sequences[0] or min(map(min, sequences)) < 0:
            raise BadSetting("a space needs candidates of at least one token each, none below zero")
        for first, second in pairwise(sequences):
            if first == second:
                raise BadSetting(f"the candidate {first} is there twice; name each candidate once")
            if second[: len(first)] == first:
                raise BadSetting(
                    f"the candidate {first} is the beginning of {second}, so that its score is "
                    "that of another event; end every candidate in one terminator found nowhere "
                    "else"
                )
        return cls(sequences=tuple(sequences))

    @classmethod
    def product(cls, levels: Iterable[Iterable[int]]) -> Trie:
        """Every sequence with one token of each level: six levels of ten digits are 10^6.

        Raises:
            BadSetting: where a level is empty or names a token twice, or there are over 2^62.
        """
        ids = tuple(tuple(int(token) for token in level) for level in levels)
        if not ids or not all(ids) or min(map(min, ids)) < 0:
            raise BadSetting("a product needs levels of at least one token each, none below zero")
        if any(len(set(level)) < len(level) for level in ids):
            raise BadSetting("a level names a token twice; name each token of a level once")
        if prod(map(len, ids)) > MAX_CANDIDATES:
            raise BadSetting("this product has over 2^62 candidates; use fewer or smaller levels")
        return cls(levels=ids)

    def __len__(self) -> int:
        return len(self.sequences) if self.sequences else prod(map(len, self.levels))

    def __iter__(self) -> Iterator[tuple[int, ...]]:
        for start in range(0, len(self), BATCH):
            yield from self._candidates(torch.arange(start, min(start + BATCH, len(self))))

    def __contains__(self, candidate: object) -> bool:
        return isinstance(candidate, Sequence | Tensor) and self.number(candidate) is not None

    @property
    def depth(self) -> int:
        """Tokens of the longest candidate."""
        return len(self._depths)

    def number(self, candidate: Sequence[int] | Tensor) -> int | None:
        """The number of this candidate, or None where it is none."""
        node, end = 0, -1
        for depth, token in enumerate(candidate):
            if depth == self.depth or end >= 0:
                return None
            below = self.children(depth, torch.tensor([node]))
            place = (below.tokens == int(token)).nonzero().flatten()
            if not len(place):
                return None
            node, end = int(below.nodes[place]), int(below.ends[place])
        return end if end >= 0 else None

    def children(self, depth: int, nodes: Tensor) -> Children:
        """The children of these nodes of one depth, in their order; a candidate's end has none."""
        return self._depths[depth].below(nodes)

    def sample(self, count: int, seed: Seed) -> list[tuple[int, ...]]:
        """Candidates drawn uniformly, with replacement."""
        return self._candidates(torch.randint(len(self), (count,), generator=seed.generator()))

    def _candidates(self, numbers: Tensor) -> list[tuple[int, ...]]:
        """The candidates of these numbers."""
        if self.sequences:
            return [self.sequences[number] for number in numbers.tolist()]
        columns = []
        for level in reversed(self.levels):
            columns.append(torch.tensor(level)[numbers % len(level)])
            numbers = numbers // len(level)
        return [tuple(row) for row in torch.stack(columns[::-1], 1).tolist()]

    @cached_property
    def _depths(self) -> tuple[_Regular | _Irregular, ...]:
        if self.sequences:
            return _irregular_depths(self.sequences)
        last = len(self.levels) - 1
        return tuple(_Regular(torch.tensor(ids), n == last) for n, ids in enumerate(self.levels))


@dataclass(frozen=True, eq=False)
class _Regular:
    """A depth at which every node has the same children."""

    ids: Tensor
    last: bool

    def below(self, nodes: Tensor) -> Children:
        width = len(self.ids)
        parents = torch.arange(len(nodes)).repeat_interleave(width)
        children = (nodes[:, None] * width + torch.arange(width)).flatten()
        ends = children if self.last else torch.full_like(children, -1)
        return Children(parents, self.ids.repeat(len(nodes)), children, ends)


@dataclass(frozen=True, eq=False)
class _Irregular:
    """A depth at which node n has the children from ``first[n]`` up to ``first[n + 1]``."""

    first: Tensor
    tokens: Tensor
    ends: Tensor

    def below(self, nodes: Tensor) -> Children:
        counts = self.first[nodes + 1] - self.first[nodes]
        parents = torch.arange(len(nodes)).repeat_interleave(counts)
        before = counts.cumsum(0) - counts
        children = torch.arange(len(parents)) + (self.first[nodes] - before)[parents]
        return Children(parents, self.tokens[children], children, self.ends[children])


def _irregular_depths(sequences: Sequence[tuple[int, ...]]) -> tuple[_Irregular, ...]:
    """The depths of a sorted list: a row opens a node wherever it differs from the row above it."""
    lengths = torch.tensor([len(tokens) for tokens in sequences])
    longest, rows = int(lengths.max()), torch.arange(len(sequences))
    table = torch.tensor([(*tokens, *[-1] * (longest - len(tokens))) for tokens in sequences])
    differs = torch.ones(len(sequences), dtype=torch.bool)
    above = torch.zeros_like(rows)
    depths: list[_Irregular] = []
    for depth in range(longest):
        differs[1:] = (table[1:, : depth + 1] != table[:-1, : depth + 1]).any(1)
        opens = differs & (lengths > depth)
        nodes = 1 if depth == 0 else len(depths[-1].tokens)
        counts = torch.bincount(above[opens], minlength=nodes)
        first = torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)])
        ends = torch.where(lengths == depth + 1, rows, -1)
        depths.append(_Irregular(first, table[opens, depth], ends[opens]))
        above = opens.cumsum(0) - 1
    return tuple(depths)
