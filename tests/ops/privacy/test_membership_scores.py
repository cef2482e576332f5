"""Membership scores by hand, and by what must hold for every score."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from math import log, sqrt

import pytest
import torch
from torch import Tensor

from robustbench_kd.core.seed import Seed
from robustbench_kd.ops.privacy.membership_scores import (
    log_probability_moments,
    loss,
    min_k,
    min_k_plus_plus,
    offline_lira,
    offline_rmia,
    reference,
    zlib_score,
)
from robustbench_kd.ops.statistics.roc import auc

TEXTS = [b"to be or not to be, that is the question", b"x" * 40, b"q8Zk2 vv09 LmP!"]


def token_scores() -> tuple[Tensor, Tensor]:
    """Log-probabilities of three examples of 8, 5 and 1 tokens, with padding beyond their ends."""
    noise = (Seed(0) / "scores").generator()
    log_probs = -torch.rand(3, 8, generator=noise) * 5
    mask = torch.arange(8) < torch.tensor([8, 5, 1])[:, None]
    return log_probs.masked_fill(~mask, torch.nan), mask


ALL: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "loss": loss,
    "zlib": lambda log_probs, mask: zlib_score(log_probs, mask, TEXTS),
    "reference": lambda log_probs, mask: reference(log_probs, log_probs.square(), mask),
    "min-k": lambda log_probs, mask: min_k(log_probs, mask, 40),
    "min-k++": lambda log_probs, mask: min_k_plus_plus(
        log_probs, torch.full_like(log_probs, -2), torch.full_like(log_probs, 0.5), mask, 40
    ),
}


@pytest.mark.parametrize("score", ALL.values(), ids=ALL)
def test_what_lies_beyond_the_mask_does_not_matter(
    score: Callable[[Tensor, Tensor], Tensor],
) -> None:
    log_probs, mask = token_scores()
    expected = score(log_probs, mask)
    assert expected.isfinite().all()
    for padding in (0.0, -1e9, torch.inf, -torch.inf):
        torch.testing.assert_close(score(log_probs.masked_fill(~mask, padding), mask), expected)


@pytest.mark.parametrize("score", ALL.values(), ids=ALL)
def test_more_likely_tokens_never_look_less_like_a_member(
    score: Callable[[Tensor, Tensor], Tensor],
) -> None:
    log_probs, mask = token_scores()
    assert (score(log_probs / 2, mask) > score(log_probs, mask)).all()


@pytest.mark.parametrize("score", [loss, min_k, ALL["reference"], ALL["min-k++"]])
def test_scores_come_in_the_order_of_the_examples(
    score: Callable[[Tensor, Tensor], Tensor],
) -> None:
    log_probs, mask = token_scores()
    turn = torch.tensor([2, 0, 1])
    torch.testing.assert_close(score(log_probs[turn], mask[turn]), score(log_probs, mask)[turn])


@pytest.mark.parametrize("score", [loss, min_k])
def test_an_example_without_a_token_has_no_score(score: Callable[[Tensor, Tensor], Tensor]) -> None:
    with pytest.raises(ValueError, match="no token that counts"):
        score(torch.zeros(2, 3), torch.tensor([[True] * 3, [False] * 3]))


def test_a_mask_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="boolean mask"):
        loss(torch.zeros(2, 3), torch.ones(2, 4, dtype=torch.bool))
    with pytest.raises(ValueError, match="boolean mask"):
        loss(torch.zeros(2, 3), torch.ones(2, 3))


def test_scores_of_two_texts_by_hand() -> None:
    log_probs = torch.tensor([[-1.0, -2.0, -3.0], [-4.0, -6.0, 9.0]])
    reference_log_probs = torch.tensor([[-2.0, -2.0, -2.0], [-9.0, -9.0, 9.0]])
    mask = torch.tensor([[True, True, True], [True, True, False]])
    assert loss(log_probs, mask).tolist() == [-2, -5]
    assert reference(log_probs, reference_log_probs, mask).tolist() == [0, 4]
    sizes = [len(zlib.compress(text)) for text in TEXTS[:2]]
    scores = zlib_score(log_probs, mask, TEXTS[:2])
    assert scores.tolist() == pytest.approx([-6 / sizes[0], -10 / sizes[1]])


def test_every_text_needs_its_bytes() -> None:
    with pytest.raises(ValueError, match="2 texts do not belong to 3 examples"):
        zlib_score(*token_scores(), TEXTS[:2])


@pytest.mark.parametrize(("k", "expected"), [(20, -9.0), (40, -8.5), (59, -8.5), (100, -5.0)])
def test_min_k_is_the_mean_of_the_lowest(k: int, expected: float) -> None:
    log_probs = torch.tensor([[-1.0, -9.0, -4.0, -8.0, -3.0]])
    assert min_k(log_probs, torch.ones(1, 5, dtype=torch.bool), k).item() == pytest.approx(expected)


def test_min_k_takes_at_least_one_token_and_each_example_its_own_share() -> None:
    log_probs = -torch.arange(1.0, 11.0).repeat(2, 1)
    mask = torch.arange(10) < torch.tensor([10, 3])[:, None]
    assert min_k(log_probs, mask, 20).tolist() == [-9.5, -3]


@pytest.mark.parametrize("k", [0, 101])
def test_a_percentage_beyond_all_is_refused(k: int) -> None:
    with pytest.raises(ValueError, match=f"k is a percentage above 0 and at most 100, not {k}"):
        min_k(*token_scores(), k)


def test_min_k_plus_plus_by_hand_on_a_vocabulary_of_three() -> None:
    """Distributions (1/2, 1/4, 1/4) and (1/8, 3/4, 1/8); the second token, then the first."""
    distributions = torch.tensor([[[0.5, 0.25, 0.25], [0.125, 0.75, 0.125]]])
    mean, deviation = log_probability_moments(distributions.log() + 3)  # logits are free of a shift
    two = log(2)
    first = (-1.5 * two, 0.5 * two)  # mean of -1, -2, -2; deviations 1/2, 1/2, 1/2
    second = 0.25 * log(0.125) + 0.75 * log(0.75)
    width = sqrt(0.25 * (log(0.125) - second) ** 2 + 0.75 * (log(0.75) - second) ** 2)
    assert mean[0].tolist() == pytest.approx([first[0], second])
    assert deviation[0].tolist() == pytest.approx([first[1], width])
    log_probs = torch.tensor([[log(0.25), log(0.125)]])
    mask = torch.ones(1, 2, dtype=torch.bool)
    z = [(-2 * two + 1.5 * two) / (0.5 * two), (log(0.125) - second) / width]
    assert z[0] == pytest.approx(-1)
    scores = [min_k_plus_plus(log_probs, mean, deviation, mask, k).item() for k in (50, 100)]
    assert scores == pytest.approx([min(z), sum(z) / 2])


def test_moments_are_those_of_tokens_drawn_from_the_distribution() -> None:
    logits = torch.randn(5, generator=(Seed(0) / "distribution").generator()) * 2
    drawn = torch.multinomial(
        logits.softmax(0), 200_000, replacement=True, generator=(Seed(0) / "draws").generator()
    )
    log_p = logits.double().log_softmax(0)[drawn]
    mean, deviation = log_probability_moments(logits)
    assert mean.item() == pytest.approx(log_p.mean().item(), abs=0.01)
    assert deviation.item() == pytest.approx(log_p.std().item(), abs=0.01)


def test_a_token_of_probability_zero_does_not_spoil_the_moments() -> None:
    padded, plain = torch.tensor([1.0, 2.0, -torch.inf]), torch.tensor([1.0, 2.0])
    for a, b in zip(log_probability_moments(padded), log_probability_moments(plain), strict=True):
        torch.testing.assert_close(a, b)


def test_under_a_uniform_distribution_the_score_is_zero_but_for_rounding() -> None:
    logits = torch.full((1, 3, 1000), 7.3)
    mean, deviation = log_probability_moments(logits)
    log_probs = logits.log_softmax(-1)[..., 0]  # single precision, with its rounding
    score = min_k_plus_plus(log_probs, mean, deviation, torch.ones(1, 3, dtype=torch.bool))
    assert abs(score.item()) < 0.05


def test_offline_lira_counts_deviations_above_networks_trained_without_the_example() -> None:
    out = torch.tensor([[0.0, 10.0], [2.0, 14.0]])
    scores = torch.tensor([3.0, 10.0])
    own = offline_lira(scores, out, pooled=False)
    assert own.tolist() == pytest.approx([2 / sqrt(2), -2 / sqrt(8)])
    assert offline_lira(scores, out).tolist() == pytest.approx([2 / sqrt(5), -2 / sqrt(5)])


@pytest.mark.parametrize("pooled", [True, False])
def test_offline_lira_finds_a_shift_that_raw_scores_hide(pooled: bool) -> None:
    noise = (Seed(3) / "shift").generator()
    hard = torch.randn(400, generator=noise) * 10  # how likely each example is anyway
    out = hard + torch.randn(8, 400, generator=noise)
    scores = hard + torch.randn(400, generator=noise)
    scores[:200] += 3
    raw = auc(scores[:200].tolist(), scores[200:].tolist())
    lira = offline_lira(scores, out, pooled)
    calibrated = auc(lira[:200].tolist(), lira[200:].tolist())
    assert raw.value < 0.65
    assert calibrated.low > 0.9


@pytest.mark.parametrize("shape", [(1, 4), (3, 5), (4,)])
def test_offline_lira_needs_two_networks(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="two networks or more for 4 examples"):
        offline_lira(torch.zeros(4), torch.zeros(shape))


def test_offline_rmia_by_hand() -> None:
    """p(x) = (1.3 p_out + 0.7) / 2 with p_out the mean probability, not the mean logarithm."""
    scores, out = torch.tensor([0.9, 0.2]).log(), torch.tensor([[0.2, 0.1], [0.4, 0.3]]).log()
    population, population_out = (
        torch.tensor([0.5, 0.3, 0.8]).log(),
        torch.tensor([[0.5, 0.3, 0.1]]).log(),
    )
    ratios = [0.9 / (1.3 * 0.3 + 0.7) * 2, 0.2 / (1.3 * 0.2 + 0.7) * 2]
    population_ratios = [2 * p / (1.3 * q + 0.7) for p, q in ((0.5, 0.5), (0.3, 0.3), (0.8, 0.1))]
    for gamma in (0.5, 1.0, 1.5):
        expected = [sum(x / z >= gamma for z in population_ratios) / 3 for x in ratios]
        shares = offline_rmia(scores, out, population, population_out, gamma=gamma)
        assert shares.tolist() == pytest.approx(expected)


def test_with_a_of_one_rmia_compares_with_the_other_networks_alone() -> None:
    out = torch.tensor([[0.5, 0.001]]).log()
    population = torch.tensor([0.3]).log()
    scores, population_out = torch.tensor([0.5, 0.002]).log(), population[None] + log(1.5)
    shares = offline_rmia(scores, out, population, population_out, a=1)
    assert shares.tolist() == [1, 1]  # ratios 1 and 2 against 1 / 1.5
    default = offline_rmia(scores, out, population, population_out)
    assert default.tolist() == [1, 0]  # the constant 1 - a drowns the small probability


def test_rmia_orders_by_the_ratio() -> None:
    noise = (Seed(5) / "rmia").generator()
    scores, out = -torch.rand(50, generator=noise), -torch.rand(4, 50, generator=noise)
    population, population_out = (
        -torch.rand(99, generator=noise),
        -torch.rand(4, 99, generator=noise),
    )
    shares = offline_rmia(scores, out, population, population_out)
    ratio = scores.exp() / (1.3 * out.exp().mean(0) + 0.7)
    assert (shares[ratio.argsort()].diff() >= 0).all()
    assert 0 <= shares.min() < 0.2 < 0.8 < shares.max() <= 1


@pytest.mark.parametrize(("a", "gamma"), [(-0.1, 1.0), (1.1, 1.0), (0.3, 0.0)])
def test_rmia_refuses_impossible_settings(a: float, gamma: float) -> None:
    with pytest.raises(ValueError, match=r"a in \[0, 1\] and gamma above 0"):
        offline_rmia(torch.zeros(2), torch.zeros(1, 2), torch.zeros(2), torch.zeros(1, 2), a, gamma)


def test_rmia_refuses_scores_of_other_examples() -> None:
    with pytest.raises(ValueError, match="a row of 2 scores"):
        offline_rmia(torch.zeros(2), torch.zeros(1, 3), torch.zeros(2), torch.zeros(1, 2))


def test_scores_are_made_in_double_precision() -> None:
    """Single precision would tie neighbours that a threshold at 1 % must tell apart."""
    log_probs = torch.full((1, 1024), -1.1)
    assert loss(log_probs, torch.ones(1, 1024, dtype=torch.bool)).dtype == torch.float64
