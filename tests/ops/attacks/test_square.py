"""Square Attack: where it stays, what it spends, what it never asks, and what it breaks."""

from __future__ import annotations

import pytest
import torch
from networks import Blind, asked, linear
from torch import Tensor

from robustbench_kd.attacks.evasion.square import Square
from robustbench_kd.core.config import Budget
from robustbench_kd.core.errors import BadSetting
from robustbench_kd.core.seed import Seed
from robustbench_kd.ops.attacks.projections import distance, uniform_start
from robustbench_kd.ops.attacks.square import square
from robustbench_kd.ops.attacks.targets import Goal
from robustbench_kd.ops.attacks.windows import bump, share, tiles, window

BUDGETS = [Budget("linf", 0.1), Budget("l2", 0.7)]


@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("targeted", [False, True])
def test_inputs_stay_in_ball_and_box_and_won_rows_are_won(budget: Budget, targeted: bool) -> None:
    subject, test = asked(60)
    x, y = test.inputs, test.targets
    goal = Goal(y, (y + 1) % 10 if targeted else None)
    z, won, spent = square(subject.logits, x, goal, budget, queries=150, seed=Seed())
    assert float(distance(z, x, budget.kind).max()) <= budget.amount + 1e-6
    assert float(z.min()) >= 0
    assert float(z.max()) <= 1
    assert torch.equal(goal.won(subject.logits(z)), won)
    assert subject.passes.forward == int(spent.sum()) + 60
    assert bool((spent[~won] == 150).all())


@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 5, 12), (3, 12, 5), (2, 3, 3), (1, 1, 4)])
def test_no_shape_is_too_small_or_too_long(budget: Budget, shape: tuple[int, int, int]) -> None:
    x = torch.rand(7, *shape, generator=Seed().generator())
    ask = linear(4, shape)
    goal = Goal(ask(x).argmax(1))
    z, won, _ = square(ask, x, goal, budget, queries=60, seed=Seed())
    assert bool(torch.isfinite(z).all())
    assert float(distance(z, x, budget.kind).max()) <= budget.amount + 1e-6
    assert torch.equal(goal.won(ask(z)), won)


def test_no_gradient_is_ever_asked_for() -> None:
    subject, test = asked(20)
    attack = Square(eps=0.1, queries=50)
    x = test.inputs.clone().requires_grad_()
    attack.perturb(lambda z: Blind.apply(subject.logits(z)), x, Goal(test.targets), Seed())
    assert subject.passes.backward == 0


@pytest.mark.parametrize("budget", BUDGETS)
def test_it_breaks_more_than_as_many_random_points(budget: Budget) -> None:
    subject, test = asked(100)
    x, goal = test.inputs, Goal(test.targets)
    _, won, _ = square(subject.logits, x, goal, budget, queries=500, seed=Seed())
    noise, lucky = Seed().generator(), torch.zeros(100, dtype=torch.bool)
    for _ in range(500):
        lucky |= goal.won(subject.logits(uniform_start(x, budget, noise)).detach())
    assert int(won.sum()) >= 2 * int(lucky.sum()) + 5


@pytest.mark.parametrize("budget", BUDGETS)
def test_many_windows_a_call_spend_the_same_queries_and_only_improve(budget: Budget) -> None:
    subject, test = asked(1)
    goal, leads, sizes = Goal(subject.answer(test.inputs)), [], []
    small = Budget(budget.kind, budget.amount / 10)  # nothing is won

    def ask(z: Tensor) -> Tensor:
        scores: Tensor = subject.logits(z)
        leads.append(float(goal.take(torch.zeros(len(z), dtype=torch.int64)).lead(scores).max()))
        sizes.append(len(z))
        return scores

    z, won, spent = square(ask, test.inputs, goal, small, queries=50, seed=Seed())
    assert not bool(won.any())
    assert sizes == [1, *[8] * 6, 1]
    assert spent.tolist() == [50]
    assert float(goal.lead(subject.logits(z))) == pytest.approx(max(leads), abs=1e-5)


def test_a_network_that_is_wrong_everywhere_costs_one_query_a_row() -> None:
    subject, test = asked(50)
    goal = Goal((subject.answer(test.inputs) + 1) % 10)
    z, notes = Square(eps=0.0).perturb(subject.logits, test.inputs, goal, Seed())
    assert notes["queries"].tolist() == [1] * 50
    assert torch.equal(z, test.inputs)


def test_a_run_that_goes_on_keeps_what_it_had() -> None:
    subject, test = asked(60)
    x, goal, budget = test.inputs, Goal(test.targets), BUDGETS[0]
    z, won, _ = square(subject.logits, x, goal, budget, queries=40, seed=Seed())
    _, more, spent = square(
        subject.logits, x, goal, budget, queries=90, seed=Seed(1), start=z, done=40
    )
    assert bool((more >= won).all())
    assert bool((spent[won] == 41).all())
    assert bool((spent[~more] == 90).all())


def test_restarts_go_to_the_rows_that_are_left_and_their_queries_add_up() -> None:
    subject, test = asked(60)
    attack = Square(eps=0.1, queries=40, restarts=2)
    z, notes = attack.perturb(subject.logits, test.inputs, Goal(test.targets), Seed())
    survived = subject.answer(z) == test.targets
    assert bool((notes["queries"][survived] == 80).all())
    again, _ = attack.perturb(subject.logits, test.inputs, Goal(test.targets), Seed())
    assert torch.equal(z, again)


def test_the_windows_shrink_as_in_the_paper() -> None:
    spent = (1, 11, 51, 201, 501, 1001, 2001, 4001, 6001, 8001)
    assert [0.8 / share(query, 0.8) for query in spent] == [2.0**n for n in range(10)]


def test_windows_have_their_size_and_reach_every_pixel() -> None:
    inside, *_ = window(torch.zeros(500, 1, 4, 6), 3, Seed().generator())
    assert bool((inside.sum((1, 2, 3)) == 9).all())
    assert bool(inside.any(0).all())


def test_a_bump_has_two_opposite_halves_and_norm_one() -> None:
    for size in (2, 3, 5, 9):
        both = bump(size)
        assert float(both.norm()) == pytest.approx(1)
        assert bool((both[: size // 2] > 0).all())
        assert bool((both[size // 2 :] < 0).all())
    # Eq. 2 by hand: heaps of 2x4 and 2x4 with distances 2 1 0 1 from the centre.
    high, middle, low = 1 + 1 / 4 + 1 / 9, 1 / 4 + 1 / 9, 1 / 9
    row = torch.tensor([low, middle, middle, middle])
    torch.testing.assert_close(bump(4)[0] / bump(4)[0, 0], row / low)
    assert float(bump(4)[1, 2] / bump(4)[0, 0]) == pytest.approx(high / low)


def test_tiles_cover_the_image_but_for_a_rim() -> None:
    pattern = tiles(torch.zeros(2, 3, 12, 28), Seed().generator())
    assert bool((pattern[0, 0, :, :] != 0).all())
    rim = tiles(torch.zeros(1, 1, 11, 11), Seed().generator())[0, 0, -1]
    assert float(rim.abs().max()) == 0


def test_no_queries_are_refused() -> None:
    with pytest.raises(BadSetting, match="at least one query"):
        Square(queries=0)
