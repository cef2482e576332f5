"""The exact rank of a secret among all that could stand in its place, by a language model."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, Literal, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor

from robustbench_kd.core.errors import BadModel, BadSetting
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.tensor_types import Labels, Logits, PerExample
from robustbench_kd.ops.privacy.trie import Trie

ROWS, CELLS = 500, 2**23  # rows, and scores of tokens, at a time; 2,000 rows are slower by half
PLAIN = 64  # whole texts at a time; 2,000 take twice as long each
# Batches of another shape round differently: by up to 1.4 units in the last place of the score, as
# seen over 10,000 candidates in float32. Scores nearer than this many units cannot be told apart.
ROUNDING = 4
M = TypeVar("M")
Reads = Callable[[Tensor, int], Tensor]


@runtime_checkable
class Continues(Protocol[M]):
    """What can be asked of a language model that can go on where it stopped; answers in nats.

    ``M`` is its memory of what it was told, which no later question may change.
    """

    @property
    def positions(self) -> int:
        """The most tokens that it can be told."""
        ...

    def open(self, ids: Tensor) -> tuple[Logits, M]:
        """Log-probabilities (1, V) of what comes after these tokens, and the memory of them."""
        ...

    def step(self, memory: M, rows: Labels, ids: Labels) -> tuple[Logits, M]:
        """The same, (b, V), where these rows of the memory go on by one token each."""
        ...


@dataclass(frozen=True)
class Rank:
    """How many candidates are at least as likely as the secret, itself among them; 1 is best.

    ``ties`` are the others that are as likely to within rounding; they are in ``value``. ``of`` is
    the size of the space, ``nodes`` the rows that branch and bound asked about, ``score`` the
    secret's log-probability in nats. Where sampled, ``value`` and ``ties`` are estimates.
    """

    value: int
    ties: int
    of: int
    estimator: Literal["exact", "sampled"]
    nodes: int
    score: float


def rank(
    model: Continues[M],
    prefix: Tensor,
    secret: Tensor,
    space: Trie,
    *,
    nodes: int = 20_000,
    samples: int = 10_000,
    seed: Seed,
) -> Rank:
    """The rank of ``secret`` (Carlini et al. 2019, The Secret Sharer, definition 2) in its space.

    Branch and bound: the log-probability of a path can only fall, so what is below the secret's
    already is cut, and fewer than 1 / P(secret) nodes of each depth are left. A secret that would
    take more than ``nodes`` of them has a large rank, for which a share of ``samples`` uniform
    draws is accurate: (1 + hits) / (1 + samples) of the space, where the ones make a secret that
    nothing is known of uniform, but never less than what was counted up to there.

    Args:
        prefix: the tokens before the secret, shape (t,), at least one.
        secret: its tokens, shape (c,); a candidate of ``space``.
        nodes: rows that the search may ask the model about, the end of the prefix among them.

    Raises:
        BadSetting: where the secret is no candidate, the model has no room for the longest one, or
            nothing may be spent.
        BadModel: where a score is not a number, or that of the secret not finite.
    """
    itself = space.number(secret)
    if itself is None:
        raise BadSetting(
            f"the secret {tuple(secret.tolist())} is none of the {len(space)} candidates of its "
            "space; rank it in the space that it was drawn from"
        )
    if nodes < 1 or samples < 1:
        raise BadSetting(f"a rank needs a node and a sample, not {nodes} and {samples}")
    _expect_room(model, prefix, space)
    opened = model.open(prefix)
    score, slack = _score(model, opened, secret)
    walk, ahead, ties = _Walk(model, space, floor=score - slack, budget=nodes), 1, 0
    for numbers, scores in walk.leaves(opened):
        others = scores[numbers != itself]
        ahead += len(others)
        ties += int((others <= score + slack).sum())
    if not walk.short:
        return Rank(ahead, ties, len(space), "exact", walk.nodes, score)
    drawn = Counter(space.sample(samples, seed / "samples"))
    few = Trie.of(drawn)
    scores = _every(model, opened, few)
    weights = torch.tensor([drawn[each] for each in few])
    hits = int(weights[scores >= score - slack].sum())
    even = int(weights[(scores - score).abs() <= slack].sum())
    # Whole upwards, so that rounding claims no exposure; in integers, since spaces may be wide.
    value = max(ahead, -(-(1 + hits) * len(space) // (1 + samples)))
    tied = min(max(ties, even * len(space) // samples), value - 1)
    return Rank(value, tied, len(space), "sampled", walk.nodes, score)


def enumerate_all(model: Continues[M], prefix: Tensor, space: Trie) -> PerExample:
    """Log-probability of every candidate after the prefix, in nats, in the order of the space.

    The prefix is read once, and so is what candidates share; a last token costs no pass.

    Raises:
        BadSetting: where the model has no room for the longest candidate.
    """
    _expect_room(model, prefix, space)
    return _every(model, model.open(prefix), space)


def score_each(
    read: Reads, prefix: Tensor, candidates: Iterable[Sequence[int]], *, rows: int = PLAIN
) -> PerExample:
    """The same the plain way: every candidate whole with its prefix, nothing shared.

    The reference for what a rank is and for what it would cost.

    Args:
        read: (b, t) tokens and a number n -> (b, n, V), the log-probabilities, in nats, of what
            comes after each of the last n tokens.
        rows: candidates a pass.
    """
    listed = list(candidates)
    scores = torch.empty(len(listed), dtype=torch.float64)
    for length in sorted(set(map(len, listed))):
        places = torch.tensor([n for n, each in enumerate(listed) if len(each) == length])
        for some in places.split(rows):
            ids = torch.tensor([listed[n] for n in some.tolist()])
            whole = torch.cat([prefix.cpu().expand(len(ids), -1), ids], 1)
            says = read(whole[:, :-1], length)  # the last token is told, never asked about
            each = says.gather(2, ids[:, :, None].to(says.device))
            scores[some] = each[:, :, 0].cpu().double().sum(1)
    return scores


def _every(model: Continues[M], opened: tuple[Logits, M], space: Trie) -> Tensor:
    scores = torch.empty(len(space), dtype=torch.float64)
    for numbers, found in _Walk(model, space).leaves(opened):
        scores[numbers] = found
    return scores


def _score(model: Continues[M], opened: tuple[Logits, M], secret: Tensor) -> tuple[float, float]:
    """The secret's log-probability, and by how much rounding may move it or one equal to it."""
    (says, memory), row, total = opened, torch.zeros(1, dtype=torch.int64), 0.0
    for place, token in enumerate(secret.tolist()):
        total += float(says[0, token])
        if place + 1 < len(secret):
            says, memory = model.step(memory, row, torch.tensor([token]))
    if not math.isfinite(total):
        raise BadModel(f"the model gives the secret log-probability {total}; it must be finite")
    return total, ROUNDING * torch.finfo(says.dtype).eps * max(1.0, -total)


class _Walk(Generic[M]):
    """Every candidate not below the floor, depth first, as far as the budget goes."""

    def __init__(
        self,
        model: Continues[M],
        space: Trie,
        *,
        floor: float = -math.inf,
        budget: float = math.inf,
    ) -> None:
        self.model, self.space, self.floor, self.budget = model, space, floor, budget
        self.nodes, self.short = 1, False  # opening the prefix has asked about the root

    def leaves(self, opened: tuple[Logits, M]) -> Iterator[tuple[Tensor, PerExample]]:
        """Numbers and log-probabilities of the candidates, some at a time."""
        return self._down(0, torch.zeros(1, dtype=torch.int64), torch.zeros(1).double(), *opened)

    def _down(
        self, depth: int, nodes: Tensor, scores: Tensor, says: Tensor, memory: M
    ) -> Iterator[tuple[Tensor, PerExample]]:
        below = self.space.children(depth, nodes)
        added = says[below.parents.to(says.device), below.tokens.to(says.device)]
        if bool(added.isnan().any()):
            raise BadModel("the model returns NaN for tokens of the space; no rank can rest on it")
        rows = max(1, min(ROWS, CELLS // says.shape[1]))
        del says  # the vocabulary is wide: let go of it before going deeper
        reached = scores[below.parents] + added.cpu().double()
        kept, done = reached >= self.floor, below.ends >= 0
        yield below.ends[kept & done], reached[kept & done]
        for piece in (kept & ~done).nonzero().flatten().split(rows):
            if len(piece) > self.budget - self.nodes:
                self.short = True
                piece = piece[: int(self.budget) - self.nodes]
            if not len(piece):
                return
            self.nodes += len(piece)
            yield from self._down(
                depth + 1,
                below.nodes[piece],
                reached[piece],
                *self.model.step(memory, below.parents[piece], below.tokens[piece]),
            )


def _expect_room(model: Continues[M], prefix: Tensor, space: Trie) -> None:
    if not len(prefix) or len(prefix) + space.depth > model.positions:
        raise BadSetting(
            f"{len(prefix)} tokens of prefix and {space.depth} of secret do not fit a model of "
            f"{model.positions} positions; give a prefix of at least one token, and both in all "
            "no more than that"
        )
