"""The rank of a secret: that it is the true one, what it costs, and what is refused."""

from __future__ import annotations

import time
from dataclasses import dataclass
from math import log

import pytest
import torch
from random_language_models import (
    DIGITS,
    FOUR,
    PREFIX,
    SIX,
    WORDS,
    CountingModel,
    larger_network,
    model,
    network,
)
from scipy.stats import chisquare
from torch import Tensor, nn

from robustbench_kd.core.errors import BadModel, BadSetting
from robustbench_kd.core.seed import Seed
from robustbench_kd.models.kv_cache import KVCacheModel
from robustbench_kd.ops.privacy import candidate_rank
from robustbench_kd.ops.privacy.candidate_rank import (
    Rank,
    rank,
    score_all_candidates,
    score_candidates,
)
from robustbench_kd.ops.privacy.trie import Trie

THREE = Trie.product([DIGITS] * 3)


def rank_by_enumeration(scores: Tensor, score: float) -> int:
    """How many scores are at least this one, up to the rounding of float64."""
    return int((scores >= score - 1e-10).sum())


@dataclass(frozen=True)
class Table:
    """A model with the same log-probabilities after any text."""

    log_p: Tensor
    positions: int = 100

    def open(self, ids: Tensor) -> tuple[Tensor, int]:
        return self.log_p[None], len(ids)

    def step(self, memory: int, rows: Tensor, ids: Tensor) -> tuple[Tensor, int]:
        return self.log_p.expand(len(rows), -1), memory + 1


# The exact rank.


@pytest.mark.slow
def test_a_rank_among_ten_thousand_is_that_of_enumeration_for_a_thousand_secrets() -> None:
    values = []
    for n in range(5):
        prefix = torch.cat([PREFIX, torch.tensor([n])])
        scores = score_candidates(model().read, prefix, FOUR)
        for secret in FOUR.sample(200, Seed() / "secrets" / n):
            result = rank(model(), prefix, torch.tensor(secret), FOUR, seed=Seed())
            number = FOUR.number(secret)
            assert number is not None
            assert result.score == pytest.approx(float(scores[number]), abs=1e-10)
            assert result.value == rank_by_enumeration(scores, result.score)
            assert result.estimator == "exact"
            values.append(result.value)
    assert len(values) == 1000
    assert min(values) < 100
    assert max(values) > 9_900


@pytest.mark.slow
@pytest.mark.parametrize("last", [0, 1])
def test_a_rank_among_a_million_is_that_of_enumeration(last: int) -> None:
    """Five secrets are drawn uniformly, five by the logarithm of their rank."""
    prefix = torch.cat([PREFIX, torch.tensor([last])])
    scores = score_all_candidates(model(), prefix, SIX)
    sample = SIX.sample(1_000, Seed() / "some" / last)
    numbers = torch.tensor([SIX.number(candidate) for candidate in sample])
    one_by_one = score_candidates(model().read, prefix, sample)
    torch.testing.assert_close(scores[numbers], one_by_one, atol=1e-10, rtol=0)
    best = scores.topk(100_000).indices
    likely = [int(best[int(10 ** (1.25 * k)) - 1]) for k in range(5)]
    for secret in [*sample[:5], *(tuple(map(int, f"{number:06}")) for number in likely)]:
        result = rank(model(), prefix, torch.tensor(secret), SIX, nodes=111_111, seed=Seed())
        assert result.value == rank_by_enumeration(scores, result.score)
        assert result.estimator == "exact"


@pytest.mark.parametrize("kind", ["gpt2", "neox"])
def test_ranks_of_candidates_of_any_length_are_those_of_enumeration(kind: str) -> None:
    scores = score_candidates(model(kind).read, PREFIX, WORDS)
    for candidate, score in zip(WORDS, scores.tolist(), strict=True):
        result = rank(model(kind), PREFIX, torch.tensor(candidate), WORDS, seed=Seed())
        assert result.score == pytest.approx(score, abs=1e-10)
        assert (result.value, result.of) == (rank_by_enumeration(scores, result.score), 7)


@pytest.mark.parametrize("kind", ["gpt2", "neox"])
@pytest.mark.parametrize("space", [THREE, WORDS], ids=["digits", "words"])
def test_sharing_prefixes_changes_no_score(space: Trie, kind: str) -> None:
    lm = KVCacheModel(larger_network(kind))
    one_by_one = score_candidates(lm.read, PREFIX, space)
    shared = score_all_candidates(lm, PREFIX, space)
    assert shared.dtype == torch.float64
    torch.testing.assert_close(shared, one_by_one, atol=1e-5, rtol=0)
    assert float(shared.max() - shared.min()) > 1


def test_each_token_is_scored_at_the_place_before_it() -> None:
    """A token that moves to the prefix leaves the score."""
    secret = torch.tensor([7, 0, 4, 2])
    with torch.inference_mode():
        log_p = model().net(input_ids=torch.cat([PREFIX, secret])[None]).logits[0].log_softmax(-1)
    by_token = [float(log_p[len(PREFIX) - 1 + n, token]) for n, token in enumerate(secret.tolist())]
    result = rank(model(), PREFIX, secret, FOUR, seed=Seed())
    assert result.score == pytest.approx(sum(by_token), abs=1e-10)
    longer = torch.cat([PREFIX, secret[:1]])
    shorter = rank(model(), longer, secret[1:], THREE, seed=Seed())
    assert shorter.score == pytest.approx(sum(by_token[1:]), abs=1e-10)


def test_candidates_as_likely_as_the_secret_are_ahead_of_it_and_counted_as_ties() -> None:
    uniform = Table(torch.zeros(16).log_softmax(0))
    secret = torch.tensor([1, 2, 3, 4])
    exact = rank(uniform, PREFIX, secret, FOUR, seed=Seed())
    assert exact == Rank(10_000, 9_999, 10_000, "exact", 1_111, exact.score)
    assert exact.score == pytest.approx(-4 * log(16))
    sampled = rank(uniform, PREFIX, secret, FOUR, nodes=10, samples=50, seed=Seed())
    assert (sampled.value, sampled.ties, sampled.estimator) == (10_000, 9_999, "sampled")
    # By hand: 0 has p = 1/2, 1 and 2 have 1/4. One pair is likelier than (0, 1), three are equal.
    table = Table(torch.tensor([0.5, 0.25, 0.25]).log())
    pairs = Trie.product([range(3)] * 2)
    result = rank(table, PREFIX, torch.tensor([0, 1]), pairs, seed=Seed())
    assert (result.value, result.ties) == (5, 3)


@pytest.mark.parametrize(("difference", "value", "ties"), [(1e-6, 2, 1), (1e-4, 1, 0)])
def test_scores_that_differ_by_rounding_alone_are_ties(
    difference: float, value: int, ties: int
) -> None:
    """In float32 a score that is moved by one unit in the last place is a tie, by 1e-4 is not."""
    table, space = Table(torch.tensor([-4.0, -4.0 - difference, -9.0])), Trie.of([[0], [1], [2]])
    first, second = (rank(table, PREFIX, torch.tensor([n]), space, seed=Seed()) for n in (0, 1))
    assert (first.value, first.ties) == (value, ties)
    assert (second.value, second.ties) == (2, ties)


@pytest.mark.slow
def test_under_a_model_that_was_not_trained_on_it_the_rank_of_a_secret_is_uniform() -> None:
    values = []
    for n, secret in enumerate(THREE.sample(400, Seed() / "null")):
        noise = (Seed() / "null" / "prefix" / n).generator()
        prefix = torch.randint(10, 16, (6,), generator=noise)
        lm = model(seed=n % 8)
        values.append(rank(lm, prefix, torch.tensor(secret), THREE, seed=Seed()).value)
    counts = torch.histc(torch.tensor(values).double(), 10, 0.5, 1000.5)
    assert chisquare(counts.numpy()).pvalue > 1e-3


@pytest.mark.parametrize("kind", ["gpt2", "neox"])
def test_a_model_trained_on_one_secret_ranks_it_first(kind: str) -> None:
    secret = torch.tensor([7, 0, 4, 2])
    net = network(kind, deviation=0.05)
    before = rank(KVCacheModel(net), PREFIX, secret, FOUR, seed=Seed())
    assert before.value > 100
    text = torch.cat([PREFIX, secret])[None]
    optimiser = torch.optim.Adam(net.parameters(), lr=0.02)
    for _ in range(30):
        loss = nn.functional.cross_entropy(net(input_ids=text).logits[0, :-1], text[0, 1:])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    after = rank(KVCacheModel(net), PREFIX, secret, FOUR, seed=Seed())
    assert (after.value, after.ties, after.estimator, after.nodes) == (1, 0, "exact", 4)


# The cost.


def test_no_more_nodes_are_queried_than_allowed_and_no_more_rows_at_a_time() -> None:
    scores = score_all_candidates(model(), PREFIX, FOUR)
    unlikeliest = torch.tensor(min(zip(scores, FOUR, strict=True))[1])
    exact = rank(model(), PREFIX, unlikeliest, FOUR, nodes=1_111, seed=Seed())
    assert (exact.value, exact.estimator, exact.nodes) == (10_000, "exact", 1_111)
    for nodes in (1, 7, 300, 1_110):
        lm = CountingModel(model())
        result = rank(lm, PREFIX, unlikeliest, FOUR, nodes=nodes, samples=1, seed=Seed())
        assert (result.nodes, result.estimator) == (nodes, "sampled")
        assert lm.rows == nodes + 2 * 3  # and three tokens each of the secret and of the sample
        assert lm.largest <= candidate_rank.ROWS


def test_a_large_vocabulary_takes_fewer_rows_at_a_time_and_changes_no_rank(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    secret = torch.tensor(FOUR.sample(1, Seed())[0])
    expected = rank(model(), PREFIX, secret, FOUR, seed=Seed())
    monkeypatch.setattr(candidate_rank, "CELLS", 7 * 16 + 5)
    lm = CountingModel(model())
    assert rank(lm, PREFIX, secret, FOUR, seed=Seed()) == expected
    assert lm.largest == 7


def test_paths_below_the_secret_are_cut() -> None:
    """A likely secret costs less than 1 / P nodes of each depth, and the fewer the likelier."""
    scores = score_all_candidates(model(), PREFIX, FOUR)
    costs = []
    for number in scores.sort(descending=True).indices[[0, 10, 100, 1_000]].tolist():
        secret = torch.tensor([int(digit) for digit in f"{number:04}"])
        result = rank(model(), PREFIX, secret, FOUR, seed=Seed())
        assert result.nodes <= 1 + 3 / float(scores[number].exp())
        costs.append(result.nodes)
    assert costs == sorted(costs)
    assert costs[0] < 40
    assert costs[-1] < 1_111


@pytest.mark.slow
def test_a_million_ranks_cost_a_ninth_of_the_passes_without_a_shared_prefix_or_less() -> None:
    """CPU time, one thread, side by side: 2 layers of 64, 1,024 words, a prefix of 12, 6 digits.

    The plain way is timed over 4,000 candidates, drawn uniformly and alternating with the shared
    way, and multiplied by 250: each candidate costs the same. It is not made slower than it need
    be: it computes no scores but those of the secret, in batches of the fastest size.
    """
    lm, prefix = KVCacheModel(larger_network()), torch.arange(20, 32)
    sample = SIX.sample(4_000, Seed() / "timed")
    score_candidates(lm.read, prefix, sample[:100])  # what is only slow the first time
    plain, shared, scores = 0.0, [], torch.zeros(0)

    def seconds(part: int) -> float:
        start = time.process_time()
        score_candidates(lm.read, prefix, sample[1_000 * part : 1_000 * (part + 1)])
        return time.process_time() - start

    for turn in range(2):
        plain += seconds(2 * turn)
        start = time.process_time()
        if turn == 0:
            scores = score_all_candidates(lm, prefix, SIX)
        else:  # the most expensive rank: nothing can be cut
            last = torch.tensor(tuple(map(int, f"{int(scores.argmin()):06}")))
            result = rank(lm, prefix, last, SIX, nodes=111_111, seed=Seed())
            assert (result.value, result.estimator, result.nodes) == (10**6, "exact", 111_111)
        shared.append(time.process_time() - start)
        plain += seconds(2 * turn + 1)
    ratio = plain * 250 / max(shared)
    assert ratio >= 9, f"{plain * 250:.1f} s plain, {shared} s shared"


# Sampled ranks.


def test_a_sampled_rank_is_near_the_exact_one_where_that_is_large() -> None:
    for n, secret in enumerate(FOUR.sample(20, Seed() / "large")):
        tokens = torch.tensor(secret)
        exact = rank(model(), PREFIX, tokens, FOUR, seed=Seed())
        sampled = rank(model(), PREFIX, tokens, FOUR, nodes=20, samples=2_000, seed=Seed() / n)
        assert sampled.score == pytest.approx(exact.score, abs=1e-10)
        if exact.estimator == sampled.estimator:
            continue
        p = exact.value / 10_000
        assert sampled.estimator == "sampled"
        assert abs(sampled.value / 10_000 - p) < 4 * (p * (1 - p) / 2_000) ** 0.5 + 1 / 2_000


def test_a_sampled_rank_is_never_below_what_was_counted() -> None:
    """Seven of nine were counted before the budget ended; one sample without a hit says five."""
    table = Table(torch.tensor([0.5, 0.3, 0.2]).log())
    pairs, secret = Trie.product([range(3)] * 2), torch.tensor([2, 1])
    assert rank(table, PREFIX, secret, pairs, seed=Seed()).value == 8
    values = {
        rank(table, PREFIX, secret, pairs, nodes=3, samples=1, seed=Seed(n)).value
        for n in range(40)
    }
    assert values == {7, 9}


def test_samples_depend_on_the_seed_alone() -> None:
    secret = torch.tensor(FOUR.sample(1, Seed())[0])
    first, again, other = (
        rank(model(), PREFIX, secret, FOUR, nodes=5, samples=300, seed=seed)
        for seed in (Seed(1), Seed(1), Seed(2))
    )
    assert first == again
    assert first.value != other.value


# What is refused.


def test_a_secret_that_is_no_candidate_is_refused() -> None:
    with pytest.raises(BadSetting, match=r"\(1, 2, 3\) is none of the 10000 candidates"):
        rank(model(), PREFIX, torch.tensor([1, 2, 3]), FOUR, seed=Seed())
    with pytest.raises(BadSetting, match="needs a node and a sample"):
        rank(model(), PREFIX, torch.tensor([1, 2, 3, 4]), FOUR, nodes=0, seed=Seed())


def test_more_tokens_than_positions_are_refused_before_anything_is_spent() -> None:
    lm, secret = CountingModel(model()), torch.tensor([1, 2, 3, 4])
    with pytest.raises(BadSetting, match="29 tokens of prefix and 4 of secret do not fit a model"):
        rank(lm, torch.full((29,), 10), secret, FOUR, seed=Seed())
    with pytest.raises(BadSetting, match="do not fit"):
        score_all_candidates(lm, torch.zeros(0, dtype=torch.int64), FOUR)
    assert lm.rows == 0
    assert rank(lm, torch.full((28,), 10), secret, FOUR, seed=Seed()).estimator == "exact"


def test_scores_that_are_no_numbers_are_refused() -> None:
    """NaN compares false with everything: it would pass for a candidate of a low score."""
    table, space = Table(torch.tensor([-1.0, torch.nan, -2.0])), Trie.of([[0], [1]])
    with pytest.raises(BadModel, match="NaN"):
        rank(table, PREFIX, torch.tensor([0]), space, seed=Seed())
    with pytest.raises(BadModel, match="must be finite"):
        rank(table, PREFIX, torch.tensor([1]), space, seed=Seed())


def test_a_secret_among_2_to_the_62_is_ranked() -> None:
    space = Trie.product([range(4)] * 31)
    table = Table(torch.tensor([0.97, 0.01, 0.01, 0.01]).log())
    likely = rank(table, PREFIX, torch.tensor([0] * 30 + [1]), space, seed=Seed())
    assert (likely.value, likely.ties, likely.of) == (1 + 31 * 3, 31 * 3 - 1, 2**62)
    assert likely.nodes == sum(1 + 3 * depth for depth in range(31))
    unlikely = rank(table, PREFIX, torch.tensor([1, 2, 3, 0] * 7 + [1] * 3), space, seed=Seed())
    assert unlikely.estimator == "sampled"
    assert 0 < unlikely.value <= 2**62
