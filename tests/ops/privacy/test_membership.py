"""Membership: scores by hand, and how well a score tells members from strangers."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from math import exp, log, sqrt
from random import Random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import roc_auc_score
from torch import Tensor

from robustbench_kd.core.seed import Seed
from robustbench_kd.ops.privacy.membership_scores import (
    compressed,
    loss,
    min_k,
    min_k_plus_plus,
    moments,
    offline_lira,
    offline_rmia,
    reference,
)
from robustbench_kd.ops.statistics.roc import auc, tpr_at

SCORES = st.lists(st.integers(-4, 4).map(float), min_size=2, max_size=30)
TEXTS = [b"to be or not to be, that is the question", b"x" * 40, b"q8Zk2 vv09 LmP!"]


def dice(*names: object) -> Random:
    seed = Seed(11)
    for name in names:
        seed = seed / name
    return Random(seed.number())


def said() -> tuple[Tensor, Tensor]:
    """Log-probabilities of three examples of 8, 5 and 1 tokens, with rubbish beyond their ends."""
    noise = (Seed(0) / "said").generator()
    log_probs = -torch.rand(3, 8, generator=noise) * 5
    mask = torch.arange(8) < torch.tensor([8, 5, 1])[:, None]
    return log_probs.masked_fill(~mask, torch.nan), mask


ALL: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "loss": loss,
    "zlib": lambda log_probs, mask: compressed(log_probs, mask, TEXTS),
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
    log_probs, mask = said()
    found = score(log_probs, mask)
    assert found.isfinite().all()
    for rubbish in (0.0, -1e9, torch.inf, -torch.inf):
        torch.testing.assert_close(score(log_probs.masked_fill(~mask, rubbish), mask), found)


@pytest.mark.parametrize("score", ALL.values(), ids=ALL)
def test_more_likely_tokens_never_look_less_like_a_member(
    score: Callable[[Tensor, Tensor], Tensor],
) -> None:
    log_probs, mask = said()
    assert (score(log_probs / 2, mask) > score(log_probs, mask)).all()


@pytest.mark.parametrize("score", [loss, min_k, ALL["reference"], ALL["min-k++"]])
def test_scores_come_in_the_order_of_the_examples(
    score: Callable[[Tensor, Tensor], Tensor],
) -> None:
    log_probs, mask = said()
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
    other = torch.tensor([[-2.0, -2.0, -2.0], [-9.0, -9.0, 9.0]])
    mask = torch.tensor([[True, True, True], [True, True, False]])
    assert loss(log_probs, mask).tolist() == [-2, -5]
    assert reference(log_probs, other, mask).tolist() == [0, 4]
    sizes = [len(zlib.compress(text)) for text in TEXTS[:2]]
    found = compressed(log_probs, mask, TEXTS[:2])
    assert found.tolist() == pytest.approx([-6 / sizes[0], -10 / sizes[1]])


def test_every_text_needs_its_bytes() -> None:
    with pytest.raises(ValueError, match="2 texts do not belong to 3 examples"):
        compressed(*said(), TEXTS[:2])


@pytest.mark.parametrize(("k", "wanted"), [(20, -9.0), (40, -8.5), (59, -8.5), (100, -5.0)])
def test_min_k_is_the_mean_of_the_lowest(k: int, wanted: float) -> None:
    log_probs = torch.tensor([[-1.0, -9.0, -4.0, -8.0, -3.0]])
    assert min_k(log_probs, torch.ones(1, 5, dtype=torch.bool), k).item() == pytest.approx(wanted)


def test_min_k_takes_at_least_one_token_and_each_example_its_own_share() -> None:
    log_probs = -torch.arange(1.0, 11.0).repeat(2, 1)
    mask = torch.arange(10) < torch.tensor([10, 3])[:, None]
    assert min_k(log_probs, mask, 20).tolist() == [-9.5, -3]


@pytest.mark.parametrize("k", [0, 101])
def test_a_percentage_beyond_all_is_refused(k: int) -> None:
    with pytest.raises(ValueError, match=f"k is a percentage above 0 and at most 100, not {k}"):
        min_k(*said(), k)


def test_min_k_plus_plus_by_hand_on_a_vocabulary_of_three() -> None:
    """Laws (1/2, 1/4, 1/4) and (1/8, 3/4, 1/8); the tokens are the second and the first."""
    laws = torch.tensor([[[0.5, 0.25, 0.25], [0.125, 0.75, 0.125]]])
    mean, spread = moments(laws.log() + 3)  # logits are free of a shift
    two = log(2)
    first = (-1.5 * two, 0.5 * two)  # mean of -1, -2, -2; deviations 1/2, 1/2, 1/2
    second = 0.25 * log(0.125) + 0.75 * log(0.75)
    width = sqrt(0.25 * (log(0.125) - second) ** 2 + 0.75 * (log(0.75) - second) ** 2)
    assert mean[0].tolist() == pytest.approx([first[0], second])
    assert spread[0].tolist() == pytest.approx([first[1], width])
    log_probs = torch.tensor([[log(0.25), log(0.125)]])
    mask = torch.ones(1, 2, dtype=torch.bool)
    z = [(-2 * two + 1.5 * two) / (0.5 * two), (log(0.125) - second) / width]
    assert z[0] == pytest.approx(-1)
    found = [min_k_plus_plus(log_probs, mean, spread, mask, k).item() for k in (50, 100)]
    assert found == pytest.approx([min(z), sum(z) / 2])


def test_moments_are_those_of_tokens_drawn_from_the_law() -> None:
    logits = torch.randn(5, generator=(Seed(0) / "law").generator()) * 2
    drawn = torch.multinomial(
        logits.softmax(0), 200_000, replacement=True, generator=(Seed(0) / "draws").generator()
    )
    says = logits.double().log_softmax(0)[drawn]
    mean, spread = moments(logits)
    assert mean.item() == pytest.approx(says.mean().item(), abs=0.01)
    assert spread.item() == pytest.approx(says.std().item(), abs=0.01)


def test_a_token_that_cannot_come_does_not_spoil_the_moments() -> None:
    with_it, without = torch.tensor([1.0, 2.0, -torch.inf]), torch.tensor([1.0, 2.0])
    for one, other in zip(moments(with_it), moments(without), strict=True):
        torch.testing.assert_close(one, other)


def test_a_law_that_is_uniform_says_nothing_of_its_token() -> None:
    logits = torch.full((1, 3, 1000), 7.3)
    mean, spread = moments(logits)
    log_probs = logits.log_softmax(-1)[..., 0]  # single precision, with its rounding
    found = min_k_plus_plus(log_probs, mean, spread, torch.ones(1, 3, dtype=torch.bool))
    assert abs(found.item()) < 0.05


def test_offline_lira_counts_deviations_above_networks_that_never_saw_the_example() -> None:
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
    found = offline_lira(scores, out, pooled)
    told = auc(found[:200].tolist(), found[200:].tolist())
    assert raw.value < 0.65
    assert told.low > 0.9


@pytest.mark.parametrize("shape", [(1, 4), (3, 5), (4,)])
def test_offline_lira_needs_two_networks_that_saw_none(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="two networks or more for 4 examples"):
        offline_lira(torch.zeros(4), torch.zeros(shape))


def test_offline_rmia_by_hand() -> None:
    """p(x) = (1.3 p_out + 0.7) / 2 with p_out the mean probability, not the mean logarithm."""
    scores, out = torch.tensor([0.9, 0.2]).log(), torch.tensor([[0.2, 0.1], [0.4, 0.3]]).log()
    crowd, crowd_out = torch.tensor([0.5, 0.3, 0.8]).log(), torch.tensor([[0.5, 0.3, 0.1]]).log()
    ours = [0.9 / (1.3 * 0.3 + 0.7) * 2, 0.2 / (1.3 * 0.2 + 0.7) * 2]
    theirs = [2 * p / (1.3 * q + 0.7) for p, q in ((0.5, 0.5), (0.3, 0.3), (0.8, 0.1))]
    for gamma in (0.5, 1.0, 1.5):
        wanted = [sum(x / z >= gamma for z in theirs) / 3 for x in ours]
        found = offline_rmia(scores, out, crowd, crowd_out, gamma=gamma)
        assert found.tolist() == pytest.approx(wanted)


def test_with_a_of_one_rmia_compares_with_the_other_networks_alone() -> None:
    out = torch.tensor([[0.5, 0.001]]).log()
    crowd = torch.tensor([0.3]).log()
    found = offline_rmia(torch.tensor([0.5, 0.002]).log(), out, crowd, crowd[None] + log(1.5), a=1)
    assert found.tolist() == [1, 1]  # ratios 1 and 2 against 1 / 1.5
    default = offline_rmia(torch.tensor([0.5, 0.002]).log(), out, crowd, crowd[None] + log(1.5))
    assert default.tolist() == [1, 0]  # the constant 1 - a drowns the small probability


def test_rmia_orders_by_the_ratio() -> None:
    noise = (Seed(5) / "rmia").generator()
    scores, out = -torch.rand(50, generator=noise), -torch.rand(4, 50, generator=noise)
    crowd, crowd_out = -torch.rand(99, generator=noise), -torch.rand(4, 99, generator=noise)
    found = offline_rmia(scores, out, crowd, crowd_out)
    ratio = scores.exp() / (1.3 * out.exp().mean(0) + 0.7)
    assert (found[ratio.argsort()].diff() >= 0).all()
    assert 0 <= found.min() < 0.2 < 0.8 < found.max() <= 1


@pytest.mark.parametrize(("a", "gamma"), [(-0.1, 1.0), (1.1, 1.0), (0.3, 0.0)])
def test_rmia_refuses_what_is_no_setting(a: float, gamma: float) -> None:
    with pytest.raises(ValueError, match=r"a in \[0, 1\] and gamma above 0"):
        offline_rmia(torch.zeros(2), torch.zeros(1, 2), torch.zeros(2), torch.zeros(1, 2), a, gamma)


def test_rmia_refuses_scores_of_other_examples() -> None:
    with pytest.raises(ValueError, match="a row of 2 scores"):
        offline_rmia(torch.zeros(2), torch.zeros(1, 3), torch.zeros(2), torch.zeros(1, 2))


@given(SCORES, SCORES)
def test_the_area_is_that_of_the_reference_library(
    members: list[float], strangers: list[float]
) -> None:
    truth = [1] * len(members) + [0] * len(strangers)
    found = auc(members, strangers)
    assert found.value == pytest.approx(roc_auc_score(truth, members + strangers))
    assert 0 <= found.low <= found.value <= found.high <= 1


@given(SCORES, SCORES)
def test_swapping_the_sides_mirrors_area_and_interval(
    members: list[float], strangers: list[float]
) -> None:
    one, other = auc(members, strangers), auc(strangers, members)
    assert (one.value, one.low, one.high) == pytest.approx(
        (1 - other.value, 1 - other.high, 1 - other.low), abs=1e-9
    )


def test_perfect_separation_is_no_certainty() -> None:
    found = auc([2.0] * 16, [1.0] * 16)
    assert (found.value, found.high) == (1, 1)
    assert 0.75 < found.low < 0.9


def test_delongs_error_by_hand() -> None:
    """Members at places 1, 1/2, 1 of two strangers; strangers below 3/3 and 2/3 of the members."""
    found = auc([5.0, 2.0, 6.0], [1.0, 3.0])
    assert found.value == pytest.approx(5 / 6)
    half = 1.959964 * sqrt(1 / 12 / 3 + 1 / 18 / 2) / (5 / 36)
    assert found.high == pytest.approx(1 / (1 + exp(-log(5) - half)), abs=1e-6)
    assert found.low == pytest.approx(1 / (1 + exp(-log(5) + half)), abs=1e-6)


@pytest.mark.parametrize(("m", "n"), [(16, 16), (48, 48), (30, 120)])
@pytest.mark.parametrize(
    ("shift", "width"),
    [(0.0, 1.0), (1.19, 1.0), (2.33, 1.0), (1.5, 3.0), (0.0, 0.2)],
    ids=["chance", "0.8", "0.95", "wide members", "narrow members"],
)
def test_the_interval_of_an_area_covers_it_as_often_as_it_says(
    m: int, n: int, shift: float, width: float
) -> None:
    noise, runs = dice("area", m, n, shift, width), 300
    true = stats.norm.cdf(shift / sqrt(1 + width**2))
    covered = 0
    for _ in range(runs):
        members = [noise.gauss(shift, width) for _ in range(m)]
        found = auc(members, [noise.gauss(0, 1) for _ in range(n)])
        covered += found.low <= true <= found.high
    assert covered >= runs * 0.95 - 3 * (runs * 0.95 * 0.05) ** 0.5


@pytest.mark.parametrize(
    ("members", "strangers", "says"),
    [([1.0], [1.0, 2.0], "1 members"), ([1.0, 2.0], [], "0 strangers")],
)
def test_an_area_needs_two_of_each(members: list[float], strangers: list[float], says: str) -> None:
    with pytest.raises(ValueError, match=f"{says} are too few"):
        auc(members, strangers)


def test_a_score_that_is_not_a_number_is_refused() -> None:
    with pytest.raises(ValueError, match="of the strangers is not a number"):
        tpr_at([1.0], [float("nan")], 0.5)


def test_members_caught_at_one_stranger_in_ten() -> None:
    found = tpr_at([8.5, 9.0, 9.5, 20.0], [float(score) for score in range(10)], 0.1)
    assert (found.threshold, found.false_alarms, found.strangers) == (8, 1, 10)
    assert (found.hits, found.count, found.value) == (4, 4, 1)
    found = tpr_at([7.0, 8.0, 9.0, 20.0], [float(score) for score in range(10)], 0.1)
    assert (found.hits, found.count) == (2, 4)
    assert found.interval == pytest.approx((0.15, 0.85), abs=0.005)


def test_ties_with_strangers_are_not_caught() -> None:
    found = tpr_at([1.0] * 50, [1.0] * 3 + [0.0] * 97, 0.02)
    assert (found.hits, found.false_alarms) == (0, 0)
    found = tpr_at([1.0] * 50, [1.0] * 3 + [0.0] * 97, 0.03)
    assert (found.hits, found.false_alarms) == (50, 3)


@given(SCORES, SCORES, st.floats(0.04, 0.9))
def test_no_more_strangers_are_flagged_than_allowed_and_no_lower_threshold_would_do(
    members: list[float], strangers: list[float], fpr: float
) -> None:
    if fpr * len(strangers) < 1:
        with pytest.raises(ValueError, match="needs at least"):
            tpr_at(members, strangers, fpr)
        return
    found = tpr_at(members, strangers, fpr)
    assert found.false_alarms <= fpr * len(strangers) + 1e-9
    lower = [score for score in strangers if score < found.threshold]
    if lower:
        assert sum(score > max(lower) for score in strangers) > fpr * len(strangers) - 1e-9


def test_one_percent_needs_a_hundred_strangers() -> None:
    with pytest.raises(ValueError, match=r"rate of 0\.01 needs at least 100 strangers, not 99"):
        tpr_at([1.0], [0.0] * 99)
    assert tpr_at([1.0], [0.0] * 100).hits == 1


@pytest.mark.parametrize("fpr", [0.0, 1.0, float("nan")])
def test_a_rate_that_is_none_is_refused(fpr: float) -> None:
    with pytest.raises(ValueError, match="must lie between 0 and 1"):
        tpr_at([1.0], [0.0], fpr)


def test_the_interval_covers_the_share_caught_at_its_threshold() -> None:
    noise, runs, covered = dice("caught"), 400, 0
    for _ in range(runs):
        strangers = [noise.gauss(0, 1) for _ in range(200)]
        found = tpr_at([noise.gauss(1.5, 1) for _ in range(40)], strangers, 0.05)
        low, high = found.interval
        covered += low <= stats.norm.sf(found.threshold - 1.5) <= high
    assert covered >= runs * 0.95 - 3 * (runs * 0.95 * 0.05) ** 0.5


@pytest.mark.parametrize(("count", "fpr"), [(100, 0.01), (300, 0.01), (80, 0.05)])
def test_low_and_high_cover_the_share_caught_at_the_rate_itself(count: int, fpr: float) -> None:
    noise, runs, covered, narrow = dice("rate", count), 200, 0, 0
    true = stats.norm.sf(stats.norm.isf(fpr) - 1.5)
    for _ in range(runs):
        strangers = [noise.gauss(0, 1) for _ in range(count)]
        found = tpr_at([noise.gauss(1.5, 1) for _ in range(count)], strangers, fpr)
        covered += found.low <= true <= found.high
        narrow += found.interval[0] <= true <= found.interval[1]
    assert covered >= runs * 0.95 - 3 * (runs * 0.95 * 0.05) ** 0.5
    assert narrow < 0.85 * runs  # Wilson's at the threshold alone does not


def test_where_all_strangers_could_be_too_few_the_low_end_is_zero() -> None:
    found = tpr_at([9.0] * 50, [float(score) for score in range(100)])
    assert (found.value, found.low) == (0, 0)
    found = tpr_at([99.5] * 50, [float(score) for score in range(100)])
    assert (found.value, found.low, found.high) == (1, 0, 1)
    found = tpr_at([999.5] * 50, [float(score) for score in range(1000)])
    assert found.low > 0.85


def test_scores_are_made_in_double_precision() -> None:
    """Single precision would tie neighbours that a threshold at 1 % must tell apart."""
    log_probs = torch.full((1, 1024), -1.1)
    assert loss(log_probs, torch.ones(1, 1024, dtype=torch.bool)).dtype == torch.float64
