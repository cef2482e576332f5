"""All that could stand in a secret's place, as a tree of tokens: what is shared is walked once."""

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

MOST = 2**62  # candidates are numbered by int64
LISTED = 10_000  # candidates that are spelled out at a time


class Children(NamedTuple):
    """What follows a batch of nodes of one depth; one entry a child, all of one length.

    ``parents`` are places in the batch, ``nodes`` the children's numbers at their own depth, and
    ``ends`` the number of the candidate that ends there, or -1 where the path goes on.
    """

    parents: Tensor
    tokens: Tensor
    nodes: Tensor
    ends: Tensor


@dataclass(frozen=True)
class Trie:
    """Distinct candidates, none the beginning of another: spelled out, or a product of levels.

    Made by ``of`` or ``product``. Candidates are numbered in the order in which they are iterated
    over; a product of levels never writes them down. The root is node 0 at depth 0.
    """

    spelled: tuple[tuple[int, ...], ...] = ()
    levels: tuple[tuple[int, ...], ...] = ()

    @classmethod
    def of(cls, candidates: Iterable[Sequence[int]]) -> Trie:
        """The space of these candidates, which may differ in length.

        Raises:
            BadSetting: where there are none, one is empty or there twice, or one begins another.
        """
        spelled = sorted(tuple(int(token) for token in each) for each in candidates)
        if not spelled or not spelled[0] or min(map(min, spelled)) < 0:
            raise BadSetting("a space needs candidates of at least one token each, none below zero")
        for one, other in pairwise(spelled):
            if one == other:
                raise BadSetting(f"the candidate {one} is there twice; name each candidate once")
            if other[: len(one)] == one:
                raise BadSetting(
                    f"the candidate {one} is the beginning of {other}, so that its score is that "
                    "of another event; end every candidate in one terminator found nowhere else"
                )
        return cls(spelled=tuple(spelled))

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
        if prod(map(len, ids)) > MOST:
            raise BadSetting("this product has over 2^62 candidates; use fewer or smaller levels")
        return cls(levels=ids)

    def __len__(self) -> int:
        return len(self.spelled) if self.spelled else prod(map(len, self.levels))

    def __iter__(self) -> Iterator[tuple[int, ...]]:
        for start in range(0, len(self), LISTED):
            yield from self._named(torch.arange(start, min(start + LISTED, len(self))))

    def __contains__(self, candidate: object) -> bool:
        return isinstance(candidate, Sequence | Tensor) and self.number(candidate) is not None

    @property
    def depth(self) -> int:
        """Tokens of the longest candidate."""
        return len(self._steps)

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
        """What follows these nodes of one depth, in their order; nothing follows a candidate."""
        return self._steps[depth].below(nodes)

    def sample(self, count: int, seed: Seed) -> list[tuple[int, ...]]:
        """So many candidates, each drawn uniformly from all (with replacement)."""
        return self._named(torch.randint(len(self), (count,), generator=seed.generator()))

    def _named(self, numbers: Tensor) -> list[tuple[int, ...]]:
        """The candidates of these numbers."""
        if self.spelled:
            return [self.spelled[number] for number in numbers.tolist()]
        columns = []
        for level in reversed(self.levels):
            columns.append(torch.tensor(level)[numbers % len(level)])
            numbers = numbers // len(level)
        return [tuple(row) for row in torch.stack(columns[::-1], 1).tolist()]

    @cached_property
    def _steps(self) -> tuple[_Even | _Uneven, ...]:
        if self.spelled:
            return _uneven(self.spelled)
        last = len(self.levels) - 1
        return tuple(_Even(torch.tensor(ids), n == last) for n, ids in enumerate(self.levels))


@dataclass(frozen=True, eq=False)
class _Even:
    """One level down where every node has the same children."""

    ids: Tensor
    last: bool

    def below(self, nodes: Tensor) -> Children:
        wide = len(self.ids)
        parents = torch.arange(len(nodes)).repeat_interleave(wide)
        kids = (nodes[:, None] * wide + torch.arange(wide)).flatten()
        ends = kids if self.last else torch.full_like(kids, -1)
        return Children(parents, self.ids.repeat(len(nodes)), kids, ends)


@dataclass(frozen=True, eq=False)
class _Uneven:
    """One level down: the children of node n are those from ``first[n]`` up to ``first[n + 1]``."""

    first: Tensor
    tokens: Tensor
    ends: Tensor

    def below(self, nodes: Tensor) -> Children:
        counts = self.first[nodes + 1] - self.first[nodes]
        parents = torch.arange(len(nodes)).repeat_interleave(counts)
        before = counts.cumsum(0) - counts
        kids = torch.arange(len(parents)) + (self.first[nodes] - before)[parents]
        return Children(parents, self.tokens[kids], kids, self.ends[kids])


def _uneven(spelled: Sequence[tuple[int, ...]]) -> tuple[_Uneven, ...]:
    """The levels of a sorted list: a row opens a node wherever it leaves the row above it."""
    lengths = torch.tensor([len(each) for each in spelled])
    deep, rows = int(lengths.max()), torch.arange(len(spelled))
    table = torch.tensor([(*each, *[-1] * (deep - len(each))) for each in spelled])
    leaves = torch.ones(len(spelled), dtype=torch.bool)
    above = torch.zeros_like(rows)
    steps: list[_Uneven] = []
    for depth in range(deep):
        leaves[1:] = (table[1:, : depth + 1] != table[:-1, : depth + 1]).any(1)
        opens = leaves & (lengths > depth)
        nodes = 1 if depth == 0 else len(steps[-1].tokens)
        counts = torch.bincount(above[opens], minlength=nodes)
        first = torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)])
        ends = torch.where(lengths == depth + 1, rows, -1)
        steps.append(_Uneven(first, table[opens, depth], ends[opens]))
        above = opens.cumsum(0) - 1
    return tuple(steps)
