"""Spaces of candidates: what they hold, how they are walked, sampled and refused."""

from __future__ import annotations

import pytest
import torch
from random_language_models import DIGITS, FOUR, PREFIX, SIX, WORDS, model
from scipy.stats import chisquare

from robustbench_kd.core.errors import BadSetting
from robustbench_kd.core.seed import Seed
from robustbench_kd.ops.privacy.candidate_rank import score_all_candidates
from robustbench_kd.ops.privacy.trie import Trie


def test_a_product_is_the_space_of_all_it_lists() -> None:
    product = Trie.product([(4, 1), (7,), (0, 2, 9)])
    listed = Trie.of(product)
    assert (len(product), len(listed), product.depth, listed.depth) == (6, 6, 3, 3)
    assert list(product)[:4] == [(4, 7, 0), (4, 7, 2), (4, 7, 9), (1, 7, 0)]
    assert list(listed) == sorted(product)
    assert [product.number(candidate) for candidate in product] == list(range(6))
    assert [listed.number(candidate) for candidate in listed] == list(range(6))
    scores = dict(zip(product, score_all_candidates(model(), PREFIX, product), strict=True))
    torch.testing.assert_close(
        score_all_candidates(model(), PREFIX, listed),
        torch.stack([scores[candidate] for candidate in listed]),
    )


@pytest.mark.parametrize("space", [WORDS, Trie.product([range(3)] * 3)])
def test_a_walk_from_the_root_meets_every_candidate_once(space: Trie) -> None:
    paths: dict[int, list[int]] = {0: []}
    candidates: dict[int, tuple[int, ...]] = {}
    for depth in range(space.depth):
        nodes = torch.tensor(list(paths)[::-1])  # in any order
        below = space.children(depth, nodes)
        extended = {}
        for parent, token, node, end in zip(*(part.tolist() for part in below), strict=True):
            path = [*paths[int(nodes[parent])], token]
            if end >= 0:
                assert end not in candidates
                candidates[end] = tuple(path)
            else:
                extended[node] = path
        paths = extended
    assert [candidates[n] for n in range(len(space))] == list(space)
    assert not paths


def test_only_candidates_are_in_a_space() -> None:
    assert all(candidate in WORDS for candidate in WORDS)
    assert torch.tensor([1, 4, 5]) in WORDS
    for other in ((), (1,), (1, 4), (3, 3), (1, 4, 6), (9,), (1, 4, 5, 5)):
        assert other not in WORDS
    assert (0, 0, 0, 10) not in FOUR


def test_a_million_candidates_are_a_value_of_sixty_numbers() -> None:
    assert Trie.product([DIGITS] * 6) == SIX
    assert hash(Trie.product([DIGITS] * 6)) == hash(SIX)
    assert Trie.of([(2, 7), (3,)]) == Trie.of([[3], [2, 7]])
    assert SIX.levels == (tuple(DIGITS),) * 6
    assert not SIX.sequences


@pytest.mark.parametrize("space", [WORDS, Trie.product([(4, 1), (7,), (0, 2, 9)])])
def test_every_candidate_is_drawn_as_often_as_any_other(space: Trie) -> None:
    """Uniform over candidates, not over branches: (3,) is one of seven, not one of five."""
    draws = space.sample(7_000, Seed() / "drawn")
    counts = [draws.count(candidate) for candidate in space]
    assert sum(counts) == 7_000
    assert chisquare(counts).pvalue > 1e-3
    assert draws == space.sample(7_000, Seed() / "drawn")


def test_scores_of_different_events_are_not_ranked() -> None:
    with pytest.raises(BadSetting, match=r"\(1, 2\) is the beginning of \(1, 2, 5\)"):
        Trie.of([(1, 2, 5), (0,), (1, 2)])
    terminated = Trie.of([(*tokens, 9) for tokens in [(1, 2, 5), (0,), (1, 2)]])
    assert len(terminated) == 3


@pytest.mark.parametrize("candidates", [[], [()], [(1,), ()], [(1, -1)]])
def test_an_empty_space_is_refused(candidates: list[tuple[int, ...]]) -> None:
    with pytest.raises(BadSetting, match="at least one token each, none below zero"):
        Trie.of(candidates)
    with pytest.raises(BadSetting, match="at least one token each, none below zero"):
        Trie.product(candidates)


def test_a_duplicate_candidate_is_refused() -> None:
    with pytest.raises(BadSetting, match=r"\(1, 2\) is there twice"):
        Trie.of([(1, 2), (3,), (1, 2)])
    with pytest.raises(BadSetting, match="names a token twice"):
        Trie.product([(1, 1), (2,)])


def test_a_product_too_large_to_number_is_refused() -> None:
    with pytest.raises(BadSetting, match=r"over 2\^62 candidates"):
        Trie.product([range(2)] * 63)
