"""The rank of a secret among all candidates that could take its place, by a language model."""

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

ROWS, CELLS = 500, 2**23  # rows, and token scores, at a time; 2,000 rows are slower by half
TEXTS = 64  # whole texts at a time; 2,000 take twice as long each
# Batches of another shape round differently: by up to 1.4 units in the last place of the score, as
# observed over 10,000 candidates in float32. Scores nearer than this many units count as equal.
ROUNDING = 4
M = TypeVar("M")
ReadFunction = Callable[[Tensor, int], Tensor]


@runtime_checkable
class IncrementalModel(Protocol[M]):
    """A language model that resumes after any token; log-probabilities are in nats.

    ``M`` is its memory of the tokens so far, which no later call may change.
    """

    @property
    def positions(self) -> int:
        """The most tokens that it reads."""
        ...

    def open(self, ids: Tensor) -> tuple[Logits, M]:
        """Log-probabilities (1, V) of the token after these, and the memory of them."""
        ...

    def step(self, memory: M, rows: Labels, ids: Labels) -> tuple[Logits, M]:
        """The same, (b, V), after these rows of the memory are extended by one token each."""
        ...


@dataclass(frozen=True)
class Rank:
    """How many candidates are at least as likely as the secret, itself included; 1 is best.

    Attributes:
        value: the rank; an estimate where ``estimator`` is "sampled".
        ties: other candidates as likely to within rounding, which ``value`` includes; the same.
        of: the number of candidates.
        nodes: the rows that branch and bound queried.
        score: the secret's log-probability in nats.
    """

    value: int
    ties: int
    of: int
    estimator: Literal["exact", "sampled"]
    nodes: int
    score: float


def rank(
    model: IncrementalModel[M],
    prefix: Tensor,
    secret: Tensor,
    space: Trie,
    *,
    nodes: int = 20_000,
    samples: int = 10_000,
    seed: Seed,
) -> Rank:
    """The rank of ``secret`` (Carlini et al. 2019, The Secret Sharer, definition 2) in its space.

    Branch and bound: the log-probability of a path can only fall, so paths already below the
    secret's are cut, and fewer than 1 / P(secret) nodes of each depth are left. A secret that would
    take more than ``nodes`` of them has a large rank, for which a share of ``samples`` uniform
    draws is accurate: (1 + hits) / (1 + samples) of the space, where the ones make the rank of a
    secret that the model knows nothing of uniform, but never less than what the search counted.

    Args:
        prefix: the tokens before the secret, shape (t,), at least one.
        secret: its tokens, shape (c,); a candidate of ``space``.
        nodes: rows that the search may query, the end of the prefix among them.

    Raises:
        BadSetting: where the secret is no candidate, the model has no room for the longest one, or
            ``nodes`` or ``samples`` is below one.
        BadModel: where a score is not a number, or that of the secret not finite.
    """
    number = space.number(secret)
    if number is None:
        raise BadSetting(
            f"the secret {tuple(secret.tolist())} is none of the {len(space)} candidates of its "
            "space; rank it in the space that it was drawn from"
        )
    if nodes < 1 or samples < 1:
        raise BadSetting(f"a rank needs a node and a sample, not {nodes} and {samples}")
    _check_room(model, prefix, space)
    root = model.open(prefix)
    score, tolerance = _score(model, root, secret)
    search = _Search(model, space, floor=score - tolerance, budget=nodes)
    ahead, ties = 1, 0
    for numbers, scores in search.leaves(root):
        others = scores[numbers != number]
        ahead += len(others)
        ties += int((others <= score + tolerance).sum())
    if not search.exhausted:
        return Rank(ahead, ties, len(space), "exact", search.nodes, score)
    draws = Counter(space.sample(samples, seed / "samples"))
    distinct = Trie.of(draws)
    scores = _score_all(model, root, distinct)
    weights = torch.tensor([draws[candidate] for candidate in distinct])
    hits = int(weights[scores >= score - tolerance].sum())
    equal = int(weights[(scores - score).abs() <= tolerance].sum())
    # Rounded up, so that rounding adds no exposure; in integers, since spaces may be large.
    value = max(ahead, -(-(1 + hits) * len(space) // (1 + samples)))
    tied = min(max(ties, equal * len(space) // samples), value - 1)
    return Rank(value, tied, len(space), "sampled", search.nodes, score)


def score_all_candidates(model: IncrementalModel[M], prefix: Tensor, space: Trie) -> PerExample:
    """Log-probability of every candidate after the prefix, in nats, in the order of the space.

    The prefix is read once, and so is what candidates share; a last token costs no pass.

    Raises:
        BadSetting: where the model has no room for the longest candidate.
    """
    _check_room(model, prefix, space)
    return _score_all(model, model.open(prefix), space)


def score_candidates(
    read: ReadFunction, prefix: Tensor, candidates: Iterable[Sequence[int]], *, rows: int = TEXTS
) -> PerExample:
    """The same without sharing: every candidate whole with its prefix.

    The reference for the value of a rank and for its cost.

    Args:
        read: (b, t) tokens and a number n -> (b, n, V), the log-probabilities, in nats, of the
            token after each of the last n tokens.
        rows: candidates a pass.
    """
    sequences = list(candidates)
    scores = torch.empty(len(sequences), dtype=torch.float64)
    for length in sorted(set(map(len, sequences))):
        places = torch.tensor([n for n, tokens in enumerate(sequences) if len(tokens) == length])
        for part in places.split(rows):
            ids = torch.tensor([sequences[n] for n in part.tolist()])
            texts = torch.cat([prefix.cpu().expand(len(ids), -1), ids], 1)
            log_p = read(texts[:, :-1], length)  # no prediction is needed after the last token
            by_token = log_p.gather(2, ids[:, :, None].to(log_p.device))
            scores[part] = by_token[:, :, 0].cpu().double().sum(1)
    return scores


def _score_all(model: IncrementalModel[M], root: tuple[Logits, M], space: Trie) -> Tensor:
    scores = torch.empty(len(space), dtype=torch.float64)
    for numbers, values in _Search(model, space).leaves(root):
        scores[numbers] = values
    return scores


def _score(
    model: IncrementalModel[M], root: tuple[Logits, M], secret: Tensor
) -> tuple[float, float]:
    """The secret's log-probability, and by how much rounding may move it or an equal one."""
    (log_p, memory), row, total = root, torch.zeros(1, dtype=torch.int64), 0.0
    for place, token in enumerate(secret.tolist()):
        total += float(log_p[0, token])
        if place + 1 < len(secret):
            log_p, memory = model.step(memory, row, torch.tensor([token]))
    if not math.isfinite(total):
        raise BadModel(f"the model gives the secret log-probability {total}; it must be finite")
    return total, ROUNDING * torch.finfo(log_p.dtype).eps * max(1.0, -total)


class _Search(Generic[M]):
    """Every candidate of at least the floor's score, depth first, as far as the budget goes.

    ``exhausted`` says whether the budget ended the search.
    """

    def __init__(
        self,
        model: IncrementalModel[M],
        space: Trie,
        *,
        floor: float = -math.inf,
        budget: float = math.inf,
    ) -> None:
        self.model, self.space, self.floor, self.budget = model, space, floor, budget
        self.nodes, self.exhausted = 1, False  # opening the prefix has queried the root

    def leaves(self, root: tuple[Logits, M]) -> Iterator[tuple[Tensor, PerExample]]:
        """Numbers and log-probabilities of the candidates, batch by batch."""
        return self._descend(0, torch.zeros(1, dtype=torch.int64), torch.zeros(1).double(), *root)

    def _descend(
        self, depth: int, nodes: Tensor, scores: Tensor, log_p: Tensor, memory: M
    ) -> Iterator[tuple[Tensor, PerExample]]:
        below = self.space.children(depth, nodes)
        added = log_p[below.parents.to(log_p.device), below.tokens.to(log_p.device)]
        if bool(added.isnan().any()):
            raise BadModel("the model returns NaN for tokens of the space; no rank can rest on it")
        rows = max(1, min(ROWS, CELLS // log_p.shape[1]))
        del log_p  # the vocabulary is large: free it before going deeper
        totals = scores[below.parents] + added.cpu().double()
        above, complete = totals >= self.floor, below.ends >= 0
        yield below.ends[above & complete], totals[above & complete]
        for part in (above & ~complete).nonzero().flatten().split(rows):
            if len(part) > self.budget - self.nodes:
                self.exhausted = True
                part = part[: int(self.budget) - self.nodes]
            if not len(part):
                return
            self.nodes += len(part)
            yield from self._descend(
                depth + 1,
                below.nodes[part],
                totals[part],
                *self.model.step(memory, below.parents[part], below.tokens[part]),
            )


def _check_room(model: IncrementalModel[M], prefix: Tensor, space: Trie) -> None:
    if not len(prefix) or len(prefix) + space.depth > model.positions:
        raise BadSetting(
            f"{len(prefix)} tokens of prefix and {space.depth} of secret do not fit a model of "
            f"{model.positions} positions; give a prefix of at least one token, and both in all "
            "no more than that"
        )
