"""The rank of a secret: that it is the true one, what it costs, and what may not be asked."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass
from functools import cache
from math import log
from typing import Any

import pytest
import torch
from scipy.stats import chisquare
from torch import Tensor, nn

from robustbench_kd.core.errors import BadModel, BadSetting
from robustbench_kd.core.seed import Seed
from robustbench_kd.models.kv_cache import Continuation
from robustbench_kd.ops.privacy import candidate_rank
from robustbench_kd.ops.privacy.candidate_rank import Rank, enumerate_all, rank, score_each
from robustbench_kd.ops.privacy.trie import Trie

transformers = pytest.importorskip("transformers")

DIGITS = range(10)
FOUR, SIX = Trie.product([DIGITS] * 4), Trie.product([DIGITS] * 6)
PREFIX = torch.tensor([11, 12, 10, 13])
WORDS = Trie.of([(3,), (1, 2), (1, 4, 4), (1, 4, 5), (0, 0, 0, 0, 6), (2, 7), (5, 1, 2)])


def network(
    kind: str = "gpt2", *, wide: int = 32, deep: int = 1, heads: int = 1, words: int = 16,
    spread: float = 0.6, seed: object = 0, dtype: torch.dtype = torch.float64,
) -> Any:  # fmt: skip
    """A causal model of 32 positions whose weights are drawn so wide that its guesses are peaked.

    In float64, so that rounding decides no comparison.
    """
    shape: dict[str, Any] = {
        "vocab_size": words, "hidden_size": wide, "num_hidden_layers": deep, "bos_token_id": None,
        "num_attention_heads": heads, "max_position_embeddings": 32, "eos_token_id": None,
        "tie_word_embeddings": False,
    }  # fmt: skip
    if kind == "gpt2":
        net = transformers.GPT2LMHeadModel(transformers.GPT2Config(**shape))
    else:
        config = transformers.GPTNeoXConfig(intermediate_size=2 * wide, **shape)
        net = transformers.GPTNeoXForCausalLM(config)
    noise = (Seed() / "network" / kind / seed).generator()
    with torch.no_grad():
        for weight in net.parameters():
            if weight.ndim > 1:
                weight.copy_(torch.randn(weight.shape, generator=noise) * spread)
    return net.eval().to(dtype)


@cache
def model(kind: str = "gpt2", seed: object = 0) -> Continuation:
    return Continuation(network(kind, seed=seed))


def tokens(candidate: tuple[int, ...]) -> Tensor:
    return torch.tensor(candidate)


def by_force(scores: Tensor, score: float) -> int:
    """How many scores are at least this one, give or take the rounding of float64."""
    return int((scores >= score - 1e-10).sum())


@dataclass(frozen=True)
class Table:
    """A model that says the same after anything: log-probabilities that are written down."""

    says: Tensor
    positions: int = 100

    def open(self, ids: Tensor) -> tuple[Tensor, int]:
        return self.says[None], len(ids)

    def step(self, memory: int, rows: Tensor, ids: Tensor) -> tuple[Tensor, int]:
        return self.says.expand(len(rows), -1), memory + 1


class Counting:
    """Passes every question on, and counts the rows that were asked about one at a time."""

    def __init__(self, inner: Continuation) -> None:
        self.inner, self.rows, self.largest = inner, 0, 0
        self.positions = inner.positions

    def open(self, ids: Tensor) -> tuple[Tensor, Any]:
        self.rows += 1
        return self.inner.open(ids)

    def step(self, memory: Any, rows: Tensor, ids: Tensor) -> tuple[Tensor, Any]:
        self.rows += len(rows)
        self.largest = max(self.largest, len(rows))
        return self.inner.step(memory, rows, ids)


# The exact rank.


@pytest.mark.slow
def test_a_rank_among_ten_thousand_is_that_of_brute_force_for_a_thousand_secrets() -> None:
    seen = []
    for n in range(5):
        prefix = torch.cat([PREFIX, torch.tensor([n])])
        plain = score_each(model().read, prefix, FOUR)
        for secret in FOUR.sample(200, Seed() / "secrets" / n):
            found = rank(model(), prefix, tokens(secret), FOUR, seed=Seed())
            number = FOUR.number(secret)
            assert number is not None
            assert found.score == pytest.approx(float(plain[number]), abs=1e-10)
            assert (found.value, found.estimator) == (by_force(plain, found.score), "exact")
            seen.append(found.value)
    assert len(seen) == 1000
    assert min(seen) < 100
    assert max(seen) > 9_900


@pytest.mark.slow
def test_a_rank_among_a_million_is_that_of_brute_force_for_twenty_secrets() -> None:
    """Ten secrets are drawn evenly, ten by the logarithm of their rank; over two prefixes."""
    for n in range(2):
        prefix = torch.cat([PREFIX, torch.tensor([n])])
        scores = enumerate_all(model(), prefix, SIX)
        some = SIX.sample(1_000, Seed() / "some" / n)
        numbers = torch.tensor([SIX.number(each) for each in some])
        plain = score_each(model().read, prefix, some)
        torch.testing.assert_close(scores[numbers], plain, atol=1e-10, rtol=0)
        best = scores.topk(100_000).indices
        likely = [int(best[int(10 ** (1.25 * k)) - 1]) for k in range(5)]
        listed = [*some[:5], *(tuple(map(int, f"{number:06}")) for number in likely)]
        for secret in listed:
            found = rank(model(), prefix, tokens(secret), SIX, nodes=111_111, seed=Seed())
            assert (found.value, found.estimator) == (by_force(scores, found.score), "exact")


@pytest.mark.parametrize("kind", ["gpt2", "neox"])
def test_ranks_of_candidates_of_any_length_are_those_of_brute_force(kind: str) -> None:
    plain = score_each(model(kind).read, PREFIX, WORDS)
    for candidate, score in zip(WORDS, plain.tolist(), strict=True):
        found = rank(model(kind), PREFIX, tokens(candidate), WORDS, seed=Seed())
        assert found.score == pytest.approx(score, abs=1e-10)
        assert (found.value, found.of) == (by_force(plain, found.score), 7)


@pytest.mark.parametrize("kind", ["gpt2", "neox"])
def test_what_is_shared_changes_no_score(kind: str) -> None:
    net = network(kind, wide=64, deep=2, heads=2, words=1024, spread=0.15, dtype=torch.float32)
    ask, three = Continuation(net), Trie.product([DIGITS] * 3)
    for space in (three, WORDS):
        plain = score_each(ask.read, PREFIX, space)
        shared = enumerate_all(ask, PREFIX, space)
        assert shared.dtype == torch.float64
        torch.testing.assert_close(shared, plain, atol=1e-5, rtol=0)
    assert float(plain.max() - plain.min()) > 1


def test_the_secret_begins_where_the_prefix_ends() -> None:
    """Each token is scored at the place before it; what moves to the prefix leaves the score."""
    secret = torch.tensor([7, 0, 4, 2])
    with torch.inference_mode():
        whole = model().net(input_ids=torch.cat([PREFIX, secret])[None]).logits[0].log_softmax(-1)
    each = [float(whole[len(PREFIX) - 1 + n, token]) for n, token in enumerate(secret.tolist())]
    found = rank(model(), PREFIX, secret, FOUR, seed=Seed())
    assert found.score == pytest.approx(sum(each), abs=1e-10)
    longer, three = torch.cat([PREFIX, secret[:1]]), Trie.product([DIGITS] * 3)
    later = rank(model(), longer, secret[1:], three, seed=Seed())
    assert later.score == pytest.approx(sum(each[1:]), abs=1e-10)


def test_candidates_as_likely_as_the_secret_are_ahead_of_it_and_counted() -> None:
    even = Table(torch.zeros(16).log_softmax(0))
    found = rank(even, PREFIX, tokens((1, 2, 3, 4)), FOUR, seed=Seed())
    assert found == Rank(10_000, 9_999, 10_000, "exact", 1_111, found.score)
    assert found.score == pytest.approx(-4 * log(16))
    short = rank(even, PREFIX, tokens((1, 2, 3, 4)), FOUR, nodes=10, samples=50, seed=Seed())
    assert (short.value, short.ties, short.estimator) == (10_000, 9_999, "sampled")
    # By hand: 0 has p = 1/2, 1 and 2 have 1/4. One pair is likelier than (0, 1), three are even.
    known = Table(torch.tensor([0.5, 0.25, 0.25]).log())
    pairs = Trie.product([range(3)] * 2)
    found = rank(known, PREFIX, tokens((0, 1)), pairs, seed=Seed())
    assert (found.value, found.ties) == (5, 3)


def test_scores_that_only_rounding_tells_apart_are_ties() -> None:
    """In float32 a score that is moved by one unit in the last place is a tie, by 1e-4 is not."""
    for moved, (value, ties) in {1e-6: (2, 1), 1e-4: (1, 0)}.items():
        says = torch.tensor([-4.0, -4.0 - moved, -9.0])
        found = rank(Table(says), PREFIX, tokens((0,)), Trie.of([[0], [1], [2]]), seed=Seed())
        assert (found.value, found.ties) == (value, ties)
        found = rank(Table(says), PREFIX, tokens((1,)), Trie.of([[0], [1], [2]]), seed=Seed())
        assert (found.value, found.ties) == (2, ties)


@pytest.mark.slow
def test_under_a_model_that_never_saw_it_the_rank_of_a_secret_is_uniform() -> None:
    three, found = Trie.product([DIGITS] * 3), []
    for n, secret in enumerate(three.sample(400, Seed() / "null")):
        noise = (Seed() / "null" / "prefix" / n).generator()
        prefix = torch.randint(10, 16, (6,), generator=noise)
        found.append(rank(model(seed=n % 8), prefix, tokens(secret), three, seed=Seed()).value)
    counts = torch.histc(torch.tensor(found).double(), 10, 0.5, 1000.5)
    assert chisquare(counts.numpy()).pvalue > 1e-3


@pytest.mark.parametrize("kind", ["gpt2", "neox"])
def test_a_model_trained_on_one_secret_ranks_it_first(kind: str) -> None:
    secret = torch.tensor([7, 0, 4, 2])
    net = network(kind, spread=0.05)
    before = rank(Continuation(net), PREFIX, secret, FOUR, seed=Seed())
    assert before.value > 100
    text = torch.cat([PREFIX, secret])[None]
    steps = torch.optim.Adam(net.parameters(), lr=0.02)
    for _ in range(30):
        loss = nn.functional.cross_entropy(net(input_ids=text).logits[0, :-1], text[0, 1:])
        steps.zero_grad()
        loss.backward()
        steps.step()
    after = rank(Continuation(net), PREFIX, secret, FOUR, seed=Seed())
    assert (after.value, after.ties, after.estimator, after.nodes) == (1, 0, "exact", 4)


# What it costs.


def test_no_more_nodes_are_asked_about_than_are_told_and_no_more_rows_at_a_time() -> None:
    unlikely = torch.tensor(min(zip(enumerate_all(model(), PREFIX, FOUR), FOUR, strict=True))[1])
    exact = rank(model(), PREFIX, unlikely, FOUR, nodes=1_111, seed=Seed())
    assert (exact.value, exact.estimator, exact.nodes) == (10_000, "exact", 1_111)
    for nodes in (1, 7, 300, 1_110):
        ask = Counting(model())
        found = rank(ask, PREFIX, unlikely, FOUR, nodes=nodes, samples=1, seed=Seed())
        assert (found.nodes, found.estimator) == (nodes, "sampled")
        assert ask.rows == nodes + 2 * 3  # and three tokens each of the secret and of the sample
        assert ask.largest <= candidate_rank.ROWS


def test_a_wide_vocabulary_goes_on_with_fewer_rows_and_changes_no_rank(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    secret = tokens(FOUR.sample(1, Seed())[0])
    found = rank(model(), PREFIX, secret, FOUR, seed=Seed())
    monkeypatch.setattr(candidate_rank, "CELLS", 7 * 16 + 5)
    ask = Counting(model())
    assert rank(ask, PREFIX, secret, FOUR, seed=Seed()) == found
    assert ask.largest == 7


def test_a_path_below_the_secret_is_cut() -> None:
    """A likely secret costs less than 1 / P nodes of each depth, and the fewer the likelier."""
    scores = enumerate_all(model(), PREFIX, FOUR)
    spent = []
    for number in scores.sort(descending=True).indices[[0, 10, 100, 1_000]].tolist():
        secret = torch.tensor([int(digit) for digit in f"{number:04}"])
        found = rank(model(), PREFIX, secret, FOUR, seed=Seed())
        assert found.nodes <= 1 + 3 / float(scores[number].exp())
        spent.append(found.nodes)
    assert spent == sorted(spent)
    assert spent[0] < 40
    assert spent[-1] < 1_111


@pytest.mark.slow
def test_a_million_ranks_cost_a_ninth_of_the_passes_without_a_shared_prefix_or_less() -> None:
    """CPU time, one thread, side by side: 2 layers of 64, 1,024 words, a prefix of 12, 6 digits.

    The plain way is timed over 4,000 candidates, drawn evenly and in turns with the shared way,
    and its cost for a million is 250 times theirs: each costs the same. It is not made dearer than
    it need be: it asks for no scores but those of the secret, in batches of the quickest size.
    """
    net = network(wide=64, deep=2, heads=2, words=1024, spread=0.15, dtype=torch.float32)
    ask, prefix = Continuation(net), torch.arange(20, 32)
    some = SIX.sample(4_000, Seed() / "timed")
    score_each(ask.read, prefix, some[:100])  # what is only slow the first time
    plain, shared, told = 0.0, [], torch.zeros(0)

    def timed(part: int) -> float:
        start = time.process_time()
        score_each(ask.read, prefix, some[1_000 * part : 1_000 * (part + 1)])
        return time.process_time() - start

    for turn in range(2):
        plain += timed(2 * turn)
        start = time.process_time()
        if turn == 0:
            told = enumerate_all(ask, prefix, SIX)
        else:  # the dearest rank there is: nothing can be cut
            last = tuple(map(int, f"{int(told.argmin()):06}"))
            found = rank(ask, prefix, tokens(last), SIX, nodes=111_111, seed=Seed())
            assert (found.value, found.estimator, found.nodes) == (10**6, "exact", 111_111)
        shared.append(time.process_time() - start)
        plain += timed(2 * turn + 1)
    ratio = plain * 250 / max(shared)
    print(f"\n10^6 candidates: plain {plain * 250:.0f} CPU s, shared {shared} s, ratio {ratio:.0f}")
    assert ratio >= 9, f"{plain * 250:.1f} s plain, {shared} s shared"


# Past the budget.


def test_a_sampled_rank_is_near_the_exact_one_where_that_is_large() -> None:
    for n, secret in enumerate(FOUR.sample(20, Seed() / "large")):
        exact = rank(model(), PREFIX, tokens(secret), FOUR, seed=Seed())
        about = rank(
            model(), PREFIX, tokens(secret), FOUR, nodes=20, samples=2_000, seed=Seed() / n
        )
        assert about.score == exact.score
        if exact.estimator == about.estimator:
            continue
        p = exact.value / 10_000
        assert about.estimator == "sampled"
        assert abs(about.value / 10_000 - p) < 4 * (p * (1 - p) / 2_000) ** 0.5 + 1 / 2_000


def test_a_sampled_rank_is_never_below_what_was_counted() -> None:
    """Seven of nine were counted before the budget went; a lone sample that is no hit says five."""
    says = Table(torch.tensor([0.5, 0.3, 0.2]).log())
    pairs = Trie.product([range(3)] * 2)
    assert rank(says, PREFIX, tokens((2, 1)), pairs, seed=Seed()).value == 8
    sampled = {
        rank(says, PREFIX, tokens((2, 1)), pairs, nodes=3, samples=1, seed=Seed(n)).value
        for n in range(40)
    }
    assert sampled == {7, 9}


def test_samples_hang_on_the_seed_alone() -> None:
    secret = tokens(FOUR.sample(1, Seed())[0])
    one, same, other = (
        rank(model(), PREFIX, secret, FOUR, nodes=5, samples=300, seed=seed)
        for seed in (Seed(1), Seed(1), Seed(2))
    )
    assert one == same
    assert one.value != other.value


# What may not be asked.


def test_a_secret_that_is_no_candidate_is_refused() -> None:
    with pytest.raises(BadSetting, match=r"\(1, 2, 3\) is none of the 10000 candidates"):
        rank(model(), PREFIX, torch.tensor([1, 2, 3]), FOUR, seed=Seed())
    with pytest.raises(BadSetting, match="needs a node and a sample"):
        rank(model(), PREFIX, torch.tensor([1, 2, 3, 4]), FOUR, nodes=0, seed=Seed())


def test_more_tokens_than_positions_are_refused_before_anything_is_spent() -> None:
    ask = Counting(model())
    long, fits = torch.full((29,), 10), torch.full((28,), 10)
    with pytest.raises(BadSetting, match="29 tokens of prefix and 4 of secret do not fit a model"):
        rank(ask, long, torch.tensor([1, 2, 3, 4]), FOUR, seed=Seed())
    with pytest.raises(BadSetting, match="do not fit"):
        enumerate_all(ask, torch.zeros(0, dtype=torch.int64), FOUR)
    assert ask.rows == 0
    assert rank(ask, fits, torch.tensor([1, 2, 3, 4]), FOUR, seed=Seed()).estimator == "exact"
    with pytest.raises(BadSetting, match="cannot go on from 33 tokens; ask it about 1 to 32"):
        model().open(torch.full((33,), 10))
    _, memory = model().open(torch.full((32,), 10))
    with pytest.raises(BadSetting, match="cannot go on from 33"):
        model().step(memory, torch.tensor([0]), torch.tensor([1]))


def test_a_model_without_a_cache_is_refused() -> None:
    with pytest.raises(BadModel, match="Linear takes none; use a causal language model"):
        Continuation(nn.Linear(2, 2))

    class Forgets(nn.Module):
        """Takes a cache, and gives none back."""

        def __init__(self) -> None:
            super().__init__()
            self.inner = network()

        def forward(self, past_key_values: object, use_cache: bool, **asked: Any) -> Any:
            return self.inner(use_cache=False, **asked)

    forgets = Continuation(Forgets().eval())
    with pytest.raises(BadModel, match="Forgets gives back NoneType"):
        forgets.open(PREFIX)
    assert forgets.read(PREFIX[None], 1).shape == (1, 1, 16)


def test_a_model_in_training_mode_is_refused() -> None:
    with pytest.raises(BadModel, match="is in training mode"):
        Continuation(network().train()).open(PREFIX)


def test_scores_that_are_no_numbers_are_refused() -> None:
    """NaN is below nothing and above nothing: it would pass for a candidate that lost."""
    says = torch.tensor([-1.0, torch.nan, -2.0])
    with pytest.raises(BadModel, match="NaN"):
        rank(Table(says), PREFIX, tokens((0,)), Trie.of([[0], [1]]), seed=Seed())
    with pytest.raises(BadModel, match="must be finite"):
        rank(Table(says), PREFIX, tokens((1,)), Trie.of([[0], [1]]), seed=Seed())


# The memory.


@pytest.mark.parametrize("kind", ["gpt2", "neox"])
def test_branches_share_no_memory_with_each_other_or_with_what_they_left(kind: str) -> None:
    ask = model(kind)
    first, root = ask.open(PREFIX)
    kept = [(layer.keys.clone(), layer.values.clone()) for layer in root.layers]
    one, left = ask.step(root, torch.tensor([0, 0]), torch.tensor([5, 6]))
    two, right = ask.step(root, torch.tensor([0]), torch.tensor([7]))
    deeper, _ = ask.step(left, torch.tensor([1, 0, 1]), torch.tensor([1, 2, 3]))
    other, _ = ask.step(right, torch.tensor([0]), torch.tensor([4]))
    for layer, (keys, values) in zip(root.layers, kept, strict=True):
        assert torch.equal(layer.keys, keys)
        assert torch.equal(layer.values, values)
    paths = {(): first[0], (5,): one[0], (6,): one[1], (7,): two[0]}
    paths |= {(6, 1): deeper[0], (5, 2): deeper[1], (6, 3): deeper[2], (7, 4): other[0]}
    for path, says in paths.items():
        whole = torch.cat([PREFIX, torch.tensor(path, dtype=torch.int64)])
        torch.testing.assert_close(says, ask.open(whole)[0][0], atol=1e-10, rtol=0)


def test_log_probabilities_are_those_of_the_words_there_are_in_float32_or_better() -> None:
    for dtype, wanted in {torch.bfloat16: torch.float32, torch.float64: torch.float64}.items():
        says, _ = Continuation(network(dtype=dtype), vocabulary=12).open(PREFIX[2:3])
        assert (says.shape, says.dtype) == ((1, 12), wanted)
        assert float(says.exp().sum()) == pytest.approx(1)


@pytest.mark.slow
def test_the_library_of_the_models_is_not_needed_to_import_this() -> None:
    code = (
        "import sys, robustbench_kd.models.kv_cache, robustbench_kd.ops.privacy.candidate_rank\n"
        "print('transformers' in sys.modules)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert ran.stdout.strip() == "False"


# The space.


def test_a_product_is_the_space_of_all_it_lists() -> None:
    product = Trie.product([(4, 1), (7,), (0, 2, 9)])
    spelled = Trie.of(product)
    assert (len(product), len(spelled), product.depth, spelled.depth) == (6, 6, 3, 3)
    assert list(product)[:4] == [(4, 7, 0), (4, 7, 2), (4, 7, 9), (1, 7, 0)]
    assert list(spelled) == sorted(product)
    assert [product.number(each) for each in product] == list(range(6))
    assert [spelled.number(each) for each in spelled] == list(range(6))
    scores = dict(zip(product, enumerate_all(model(), PREFIX, product), strict=True))
    again = enumerate_all(model(), PREFIX, spelled)
    torch.testing.assert_close(again, torch.stack([scores[each] for each in spelled]))


@pytest.mark.parametrize("space", [WORDS, Trie.product([range(3)] * 3)])
def test_whoever_goes_down_from_the_root_meets_every_candidate_once(space: Trie) -> None:
    paths: dict[int, list[int]] = {0: []}
    met: dict[int, tuple[int, ...]] = {}
    for depth in range(space.depth):
        nodes = torch.tensor(list(paths)[::-1])  # in any order
        below = space.children(depth, nodes)
        grown = {}
        for parent, token, node, end in zip(*(part.tolist() for part in below), strict=True):
            path = [*paths[int(nodes[parent])], token]
            if end >= 0:
                met[end] = tuple(path)
            else:
                grown[node] = path
        paths = grown
    assert [met[n] for n in range(len(space))] == list(space)
    assert not paths


def test_only_candidates_are_in_a_space() -> None:
    assert all(each in WORDS for each in WORDS)
    assert torch.tensor([1, 4, 5]) in WORDS
    for stranger in ((), (1,), (1, 4), (3, 3), (1, 4, 6), (9,), (1, 4, 5, 5)):
        assert stranger not in WORDS
    assert (0, 0, 0, 10) not in FOUR


def test_a_million_candidates_are_a_value_of_sixty_numbers() -> None:
    assert Trie.product([DIGITS] * 6) == SIX
    assert hash(Trie.product([DIGITS] * 6)) == hash(SIX)
    assert Trie.of([(2, 7), (3,)]) == Trie.of([[3], [2, 7]])
    assert SIX.levels == (tuple(DIGITS),) * 6
    assert not SIX.spelled


def test_every_candidate_is_drawn_as_often_as_any_other() -> None:
    """Uniform over candidates, not over branches: (3,) is one of seven, not one of five."""
    for space in (WORDS, Trie.product([(4, 1), (7,), (0, 2, 9)])):
        drawn = space.sample(7_000, Seed() / "drawn")
        counts = [drawn.count(each) for each in space]
        assert sum(counts) == 7_000
        assert chisquare(counts).pvalue > 1e-3
        assert drawn == space.sample(7_000, Seed() / "drawn")


def test_scores_of_different_events_are_not_ranked() -> None:
    with pytest.raises(BadSetting, match=r"\(1, 2\) is the beginning of \(1, 2, 5\)"):
        Trie.of([(1, 2, 5), (0,), (1, 2)])
    ended = Trie.of([(*each, 9) for each in [(1, 2, 5), (0,), (1, 2)]])
    assert len(ended) == 3


@pytest.mark.parametrize("candidates", [[], [()], [(1,), ()], [(1, -1)]])
def test_a_space_of_nothing_is_refused(candidates: list[tuple[int, ...]]) -> None:
    with pytest.raises(BadSetting, match="at least one token each, none below zero"):
        Trie.of(candidates)
    with pytest.raises(BadSetting, match="at least one token each, none below zero"):
        Trie.product(candidates)


def test_a_candidate_that_is_there_twice_is_refused() -> None:
    with pytest.raises(BadSetting, match=r"\(1, 2\) is there twice"):
        Trie.of([(1, 2), (3,), (1, 2)])
    with pytest.raises(BadSetting, match="names a token twice"):
        Trie.product([(1, 1), (2,)])


def test_a_product_too_large_to_number_is_refused_and_the_largest_is_ranked() -> None:
    with pytest.raises(BadSetting, match=r"over 2\^62 candidates"):
        Trie.product([range(2)] * 63)
    vast = Trie.product([range(4)] * 31)
    likely = Table(torch.tensor([0.97, 0.01, 0.01, 0.01]).log())
    found = rank(likely, PREFIX, torch.tensor([0] * 30 + [1]), vast, seed=Seed())
    assert (found.value, found.ties, found.of) == (1 + 31 * 3, 31 * 3 - 1, 2**62)
    assert found.nodes == sum(1 + 3 * depth for depth in range(31))
    lost = rank(likely, PREFIX, torch.tensor([1, 2, 3, 0] * 7 + [1] * 3), vast, seed=Seed())
    assert lost.estimator == "sampled"
    assert 0 < lost.value <= 2**62
