"""Balls, hunts, codes, bits, intervals and pairs: against what is known otherwise."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import linear
from scipy.stats import binomtest
from torch import Tensor, nn

from robustbench_kd.core.config import Budget, Norm
from robustbench_kd.core.seed import Seed
from robustbench_kd.models.classifier import classifier
from robustbench_kd.ops.attacks.gradients import held_still, input_gradient, score_and_gradient
from robustbench_kd.ops.attacks.pgd import ascend, hunt, restarted, worst_case
from robustbench_kd.ops.attacks.projections import (
    distance,
    length,
    near_start,
    project,
    spread,
    steepest,
    uniform_start,
)
from robustbench_kd.ops.attacks.quantization import decode, encode
from robustbench_kd.ops.attacks.targets import Goal
from robustbench_kd.ops.statistics.bitset import discordant, pack, unpack
from robustbench_kd.ops.statistics.paired_tests import mcnemar_exact, mcnemar_two_sided, tango
from robustbench_kd.ops.statistics.proportions import wilson
from robustbench_kd.scenarios.digits import Digits

KINDS: list[Norm] = ["linf", "l2"]
BUDGETS = st.builds(Budget, st.sampled_from(KINDS), st.floats(0, 3))
NUMBERS = st.integers(0, 2**31)


def images(number: int, count: int = 3) -> Tensor:
    """Images of 1x4x4 in the box, some of their pixels on its walls."""
    noise = Seed(number).generator()
    return (torch.rand(count, 1, 4, 4, generator=noise) * 1.4 - 0.2).clamp(0, 1)


def pushed(x: Tensor, number: int, scale: float = 1.0) -> Tensor:
    noise = (Seed(number) / "push").generator()
    return x + scale * torch.randn(x.shape, generator=noise)


# ------------------------------------------------------------------------------------------ balls


@given(number=NUMBERS, budget=BUDGETS, scale=st.floats(0.001, 10))
@settings(max_examples=80)
def test_a_projection_lies_in_ball_and_box_and_stays_where_it_is(
    number: int, budget: Budget, scale: float
) -> None:
    x = images(number)
    z = project(pushed(x, number, scale), x, budget)
    assert float(distance(z, x, budget.kind).max()) <= budget.amount * (1 + 1e-6) + 1e-6
    assert float(z.min()) >= 0
    assert float(z.max()) <= 1
    torch.testing.assert_close(project(z, x, budget), z, rtol=0, atol=2e-6)


@given(number=NUMBERS, kind=st.sampled_from(KINDS))
@settings(max_examples=40)
def test_what_lies_in_ball_and_box_is_its_own_projection(number: int, kind: Norm) -> None:
    x = images(number)
    z = pushed(x, number, 0.05).clamp(0, 1)
    radius = float(distance(z, x, kind).max()) + 1e-3
    torch.testing.assert_close(project(z, x, Budget(kind, radius)), z, rtol=0, atol=1e-6)


def test_a_projection_by_hand() -> None:
    x, z = torch.full((1, 1, 1, 2), 0.5), torch.tensor([[[[0.8, 0.9]]]])
    linf = project(z, x, Budget("linf", 0.35))
    torch.testing.assert_close(linf, torch.tensor([[[[0.8, 0.85]]]]))
    l2 = project(z, x, Budget("l2", 0.25))  # the step of (0.3, 0.4) is halved
    torch.testing.assert_close(l2, torch.tensor([[[[0.65, 0.7]]]]))


def test_lengths_by_hand() -> None:
    delta = torch.tensor([[[[3.0, -4.0]]], [[[0.0, 0.0]]]])
    assert length(delta, "linf").tolist() == [4.0, 0.0]
    assert length(delta, "l2").tolist() == [5.0, 0.0]
    torch.testing.assert_close(spread(torch.tensor([2.0, 3.0]), delta) * delta, 2 * delta)


@pytest.mark.parametrize("kind", KINDS)
def test_the_steepest_direction_has_length_one_and_no_gradient_gives_none(kind: Norm) -> None:
    gradient = pushed(torch.zeros(2, 1, 4, 4), 1)
    gradient[1] = 0
    step = steepest(gradient, kind)
    torch.testing.assert_close(length(step, kind), torch.tensor([1.0, 0.0]))
    gain, dual = (step * gradient)[0].sum(), gradient[0].flatten()
    torch.testing.assert_close(gain, dual.abs().sum() if kind == "linf" else dual.norm())


@pytest.mark.parametrize("kind", KINDS)
def test_random_starts_fill_the_cube_evenly_and_the_ball_along_its_radius(kind: Norm) -> None:
    """The largest of four uniform shares has the mean 4/5; a uniform radius has the mean 1/2."""
    x, budget = torch.full((4000, 1, 2, 2), 0.5), Budget(kind, 0.2)
    z = uniform_start(x, budget, Seed().generator())
    radii = distance(z, x, kind)
    assert float(radii.max()) <= 0.2 + 1e-6
    assert float(radii.mean()) == pytest.approx(0.2 * (4 / 5 if kind == "linf" else 0.5), abs=0.003)
    torch.testing.assert_close((z - x).mean((0, 1)), torch.zeros(2, 2), rtol=0, atol=0.006)
    assert torch.equal(z, uniform_start(x, budget, Seed().generator()))


def test_near_starts_are_near() -> None:
    x = images(0, 200)
    z = near_start(x, Seed().generator())
    assert float(distance(z, x, "linf").max()) < 0.006
    inner = (x > 0.1) & (x < 0.9)
    assert float((z - x)[inner].std()) == pytest.approx(0.001, rel=0.05)


# ------------------------------------------------------------------------------------------ hunts


def coin(z: Tensor) -> Tensor:
    """Two scores that are each other's negative, linear with weights of l1 norm 10."""
    m = (z.flatten(1) - 0.5) @ torch.tensor([3.0, -1.0, 2.0, -4.0])
    return torch.stack([m, -m], 1)


@pytest.mark.parametrize("steps", [1, 4])
def test_on_a_linear_network_the_margin_falls_by_the_radius_times_the_dual_norm(steps: int) -> None:
    x, goal = torch.full((5, 1, 2, 2), 0.5), Goal(torch.zeros(5, dtype=torch.int64))
    for kind, dual in (("linf", 10.0), ("l2", math.sqrt(30.0))):
        budget = Budget("linf" if kind == "linf" else "l2", 0.1)

        def ahead(z: Tensor) -> Tensor:  # so far that no row is won
            return coin(z) + torch.tensor([9.0, 0.0])

        z, won = hunt(ahead, x, goal, budget, steps=steps, stride=1 / steps, start=x)
        assert not bool(won.any())
        fall = (coin(x) - coin(z))[:, 0]
        torch.testing.assert_close(fall, torch.full((5,), 0.1 * dual), rtol=1e-5, atol=0)


def test_a_row_that_is_won_leaves_the_batch_and_costs_nothing_more() -> None:
    """Rows lead by 1/2, 3/2, 5/2 and 9 steps' worth, so they fall to steps 1, 2, 3 and none."""
    asked: list[int] = []
    step, worth = 0.1 / 6, 2 * 10 * 0.1 / 6
    lead = torch.tensor([0.5, 1.5, 2.5, 9.0])

    class Leading(nn.Module):
        def forward(self, z: Tensor) -> Tensor:
            asked.append(len(z))
            own = z[:, 0, 0, 4].detach() * 9 * worth  # the lead rides on a pixel without a slope
            return coin(z[..., :4]) + torch.stack([own, torch.zeros_like(own)], 1)

    x = torch.full((4, 1, 1, 5), 0.5)
    x[:, 0, 0, 4] = lead / 9
    subject, goal = classifier(Leading(), 2), Goal(torch.zeros(4, dtype=torch.int64))
    z, won = hunt(subject.logits, x, goal, Budget("linf", 0.1), steps=6, stride=1 / 6, start=x)
    assert won.tolist() == [True, True, True, False]
    assert asked == [4, 4, 3, 2, 1, 1, 1]
    assert subject.passes.forward == sum(asked)
    assert subject.passes.backward == sum(asked[:-1])  # none after the last step
    steps = distance(z, x, "linf") / step
    torch.testing.assert_close(steps, torch.tensor([1.0, 2.0, 3.0, 6.0]))
    assert torch.equal(goal.won(subject.logits(z)), won)


def test_a_hunt_that_has_won_everything_at_its_start_asks_once() -> None:
    x, goal = torch.full((5, 1, 2, 2), 0.5), Goal(torch.ones(5, dtype=torch.int64))
    subject = classifier(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), 2)
    with torch.no_grad():
        subject.net.get_submodule("1").bias.copy_(torch.tensor([9.0, -9.0]))
    z, won = hunt(subject.logits, x, goal, Budget("linf", 0.1), steps=50, stride=0.1, start=x)
    assert bool(won.all())
    assert torch.equal(z, x)
    assert (subject.passes.forward, subject.passes.backward) == (5, 0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_targeted_hunt_reaches_its_target(kind: Norm) -> None:
    ask, x = linear(4, (1, 4, 4)), images(5, 12)
    wanted = (ask(x).argmax(1) + 1) % 4
    goal = Goal(ask(x).argmax(1), wanted)
    z, won = hunt(ask, x, goal, Budget(kind, 3.0), steps=40, stride=0.2, start=x)
    assert bool(won.all())
    assert torch.equal(ask(z).argmax(1), wanted)


def test_restarts_ask_only_of_rows_that_are_left() -> None:
    tried: list[list[int]] = []

    def once(left: Tensor, turn: int) -> tuple[Tensor, Tensor]:
        tried.append(left.tolist())
        return torch.full((len(left), 1, 1, 1), float(turn)), left == turn

    z, won = restarted(once, torch.full((3, 1, 1, 1), 9.0), restarts=9)
    assert tried == [[0, 1, 2], [1, 2], [2]]
    assert z.flatten().tolist() == [0.0, 1.0, 2.0]
    assert bool(won.all())


def test_plain_ascent_takes_every_step_with_every_row() -> None:
    x = torch.full((2, 1, 2, 2), 0.5)
    z = ascend(lambda z: coin(z)[:, 0], x, Budget("linf", 0.1), steps=3, stride=0.2, start=x)
    direction = torch.tensor([[1.0, -1.0], [1.0, -1.0]])
    torch.testing.assert_close(z - x, (0.06 * direction).expand(2, 1, 2, 2))


# -------------------------------------------------------------------------------------- gradients


def test_an_input_gradient_is_that_of_each_example_alone() -> None:
    x = images(2, 3)
    values, gradient = score_and_gradient(lambda z: z.square().flatten(1).sum(1), x)
    torch.testing.assert_close(gradient, 2 * x)
    torch.testing.assert_close(values, x.square().flatten(1).sum(1))
    with torch.no_grad():
        assert torch.equal(input_gradient(lambda z: z.square().flatten(1).sum(1), x), gradient)
    assert not x.requires_grad


def test_a_network_is_held_still_and_handed_back_in_its_own_mixed_state() -> None:
    net = Digits().student("resnet-4-8", Seed()).train()
    net.get_submodule("stem_norm").eval()
    net.get_submodule("head").requires_grad_(False)
    modes = [module.training for module in net.modules()]
    flags = [weight.requires_grad for weight in net.parameters()]
    held = []

    def crash() -> None:
        with held_still(net) as still:
            held.extend(module.training for module in still.modules())
            held.extend(weight.requires_grad for weight in still.parameters())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        crash()
    assert held
    assert not any(held)
    assert [module.training for module in net.modules()] == modes
    assert [weight.requires_grad for weight in net.parameters()] == flags


def test_the_inner_attack_feeds_no_statistics() -> None:
    net, x = Digits().student("resnet-4-8", Seed()).train(), torch.rand(4, 1, 8, 8)
    before = [buffer.clone() for buffer in net.buffers()]
    z = worst_case(net, x, Budget("linf", 0.1), lambda s, _: s[:, 0], steps=2, stride=0.5, start=x)
    assert all(torch.equal(a, b) for a, b in zip(before, net.buffers(), strict=True))
    assert not torch.equal(z, x)
    assert net.training


# ------------------------------------------------------------------------------------------ codes


@given(number=NUMBERS, budget=BUDGETS)
@settings(max_examples=80)
def test_decoded_inputs_lie_in_ball_and_box_and_near_what_was_coded(
    number: int, budget: Budget
) -> None:
    x = images(number)
    z = project(pushed(x, number), x, budget)
    codes = encode(z, x, budget)
    assert codes.dtype == (torch.int8 if budget.kind == "linf" else torch.int16)
    back = decode(codes, x, budget)
    assert float(distance(back, x, budget.kind).max()) <= budget.amount * (1 + 1e-6) + 1e-7
    assert float(back.min()) >= 0
    assert float(back.max()) <= 1
    step = budget.amount / (127 / 0.5 if budget.kind == "linf" else 32767)
    assert float((back - z).abs().max()) <= step + 1e-6


@pytest.mark.parametrize("kind", KINDS)
def test_codes_survive_a_second_coding(kind: Norm) -> None:
    """What is stored is what was judged: to code the decoded input changes nothing in Linf."""
    x, budget = torch.full((3, 1, 4, 4), 0.5), Budget(kind, 0.1)
    z = project(pushed(x, 1), x, budget)
    codes = encode(z, x, budget)
    again = encode(decode(codes, x, budget), x, budget)
    assert int((again.int() - codes.int()).abs().max()) <= (0 if kind == "linf" else 1)
    assert not bool(codes.eq(0).all())


@pytest.mark.parametrize("kind", KINDS)
def test_a_radius_of_zero_codes_to_nothing(kind: Norm) -> None:
    x, budget = images(1), Budget(kind, 0.0)
    codes = encode(pushed(x, 1), x, budget)
    assert not bool(codes.any())
    assert torch.equal(decode(codes, x, budget), x)


def test_what_lies_outside_of_the_ball_is_coded_to_its_edge() -> None:
    x = torch.full((1, 1, 1, 2), 0.5)
    z = torch.tensor([[[[0.9, 0.1]]]])
    assert encode(z, x, Budget("linf", 0.1)).flatten().tolist() == [127, -127]


# ------------------------------------------------------------------------------------------- bits


@given(st.lists(st.booleans(), max_size=70))
def test_flags_survive_packing(flags: list[bool]) -> None:
    assert unpack(pack(flags), len(flags)) == flags


def test_bits_by_hand_and_their_length() -> None:
    assert pack([True, False, False, False, False, False, False, True, True]) == "gYA="
    assert len(pack([True] * 1000)) == 168


@pytest.mark.parametrize(
    ("text", "count", "says"),
    [
        ("gYA=", 8, "2 bytes cannot hold the bits of 8"),
        ("gYA=", 17, "2 bytes cannot hold the bits of 17"),
        ("gcA=", 9, "bits are set after the last"),
        ("g!A=", 9, "no base64"),
        ("gYA", 9, "no base64"),
    ],
)
def test_bits_that_cannot_be_are_refused(text: str, count: int, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        unpack(text, count)


def test_discordant_pairs_by_hand() -> None:
    old, new = [True, True, True, False, False], [True, False, False, True, False]
    assert discordant(old, new) == (2, 1)
    with pytest.raises(ValueError, match="shorter"):
        discordant(old, new[:-1])


# ---------------------------------------------------------------------------- intervals and pairs


@given(hits=st.integers(0, 400), more=st.integers(0, 400), level=st.sampled_from([0.9, 0.95, 0.99]))
def test_wilsons_interval_is_scipys(hits: int, more: int, level: float) -> None:
    count = max(1, hits + more)
    wanted = binomtest(hits, count).proportion_ci(level, method="wilson")
    assert wilson(hits, count, level) == pytest.approx((wanted.low, wanted.high), abs=1e-9)


def test_none_of_five_hundred_is_not_nothing() -> None:
    low, high = wilson(0, 500)
    assert low == 0.0
    assert round(100 * high, 1) == 0.8
    assert wilson(500, 500) == (pytest.approx(1 - high), 1.0)


@pytest.mark.parametrize(("hits", "count"), [(0, 0), (-1, 5), (6, 5)])
def test_impossible_shares_are_refused(hits: int, count: int) -> None:
    with pytest.raises(ValueError, match="no share"):
        wilson(hits, count)


@given(lost=st.integers(0, 300), won=st.integers(0, 300))
def test_mcnemars_exact_test_is_scipys(lost: int, won: int) -> None:
    n = lost + won
    one = binomtest(lost, n, alternative="greater").pvalue if n else 1.0
    two = binomtest(lost, n).pvalue if n else 1.0
    assert mcnemar_exact(lost, won) == pytest.approx(one, rel=1e-9, abs=1e-300)
    assert mcnemar_two_sided(lost, won) == pytest.approx(two, rel=1e-9, abs=1e-300)


def test_mcnemar_by_hand() -> None:
    """Five lost and none won is the least that is more than chance at 0.05."""
    assert mcnemar_exact(5, 0) == pytest.approx(1 / 32)
    assert mcnemar_exact(4, 0) == pytest.approx(1 / 16)
    assert mcnemar_exact(0, 0) == 1.0
    assert mcnemar_two_sided(5, 0) == pytest.approx(1 / 16)


@pytest.mark.parametrize(
    ("lost", "won", "count", "low", "high"),
    [
        (0, 0, 500, -0.76, 0.76),
        (7, 0, 1000, 0.31, 1.44),
        (40, 20, 1000, 0.50, 3.60),
        (43, 14, 256, 5.75, 17.15),
    ],
)
def test_tangos_interval_has_the_known_values(
    lost: int, won: int, count: int, low: float, high: float
) -> None:
    """In percent points; worked out from the likelihood, and their coverage simulated."""
    found = tuple(round(100 * end, 2) for end in tango(lost, won, count))
    assert found == (pytest.approx(low, abs=0.006), pytest.approx(high, abs=0.006))


@given(st.integers(0, 60), st.integers(0, 60), st.integers(1, 500))
def test_tangos_interval_holds_the_difference_and_mirrors(lost: int, won: int, more: int) -> None:
    count = lost + won + more
    low, high = tango(lost, won, count)
    assert -1 <= low <= (lost - won) / count <= high <= 1
    assert tango(won, lost, count) == pytest.approx((-high, -low), abs=1e-9)


@pytest.mark.parametrize(("lost", "won", "count"), [(0, 0, 0), (-1, 0, 5), (3, 3, 5)])
def test_impossible_pairs_are_refused(lost: int, won: int, count: int) -> None:
    with pytest.raises(ValueError, match="no pairs"):
        tango(lost, won, count)


# ------------------------------------------------------------------------------------------ seeds


def test_a_seed_depends_on_its_value_and_on_every_name() -> None:
    seeds: list[Any] = [Seed(), Seed(1), Seed() / "a", Seed() / "b", Seed() / "a" / "b", Seed() / 1]
    assert len({seed.number() for seed in seeds}) == len(seeds)
    assert all(0 <= seed.number() < 2**63 for seed in seeds)
    one, other = (torch.rand(3, generator=(Seed(4) / "x").generator()) for _ in range(2))
    assert torch.equal(one, other)
