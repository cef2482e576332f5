"""Square Attack: where it stays, what it spends, what it never asks, and what it breaks."""

from __future__ import annotations

import pytest
import torch
from networks import NoGradient, linear, robust_model
from rounding import ROUNDING, same_decisions
from torch import Tensor

from robustbench_kd.attacks.evasion.square import Square
from robustbench_kd.core.config import Budget
from robustbench_kd.core.errors import BadSetting
from robustbench_kd.core.seed import Seed
from robustbench_kd.ops.attacks.projections import distance, uniform_start
from robustbench_kd.ops.attacks.square import (
    bump,
    random_window,
    square,
    tile_pattern,
    window_share,
)
from robustbench_kd.ops.attacks.targets import Goal

BUDGETS = [Budget("linf", 0.1), Budget("l2", 0.7)]


@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("targeted", [False, True])
def test_inputs_stay_in_ball_and_box_and_success_is_reported(
    budget: Budget, targeted: bool
) -> None:
    model, test = robust_model(60)
    x, y = test.inputs, test.targets
    goal = Goal(y, (y + 1) % 10 if targeted else None)
    z, success, spent = square(model.logits, x, goal, budget, queries=150, seed=Seed())
    assert float(distance(z, x, budget.kind).max()) <= budget.amount + 1e-6
    assert float(z.min()) >= 0
    assert float(z.max()) <= 1
    assert same_decisions(goal, model.logits(z), success)
    assert model.passes.forward == int(spent.sum()) + 60
    assert bool((spent[~success] == 150).all())


@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 5, 12), (3, 12, 5), (2, 3, 3), (1, 1, 4)])
def test_no_shape_is_too_small_or_too_long(budget: Budget, shape: tuple[int, int, int]) -> None:
    x = torch.rand(7, *shape, generator=Seed().generator())
    logits = linear(4, shape)
    goal = Goal(logits(x).argmax(1))
    z, success, _ = square(logits, x, goal, budget, queries=60, seed=Seed())
    assert bool(torch.isfinite(z).all())
    assert float(distance(z, x, budget.kind).max()) <= budget.amount + 1e-6
    assert same_decisions(goal, logits(z), success)


def test_no_gradient_is_ever_computed() -> None:
    model, test = robust_model(20)
    attack = Square(eps=0.1, queries=50)
    x = test.inputs.clone().requires_grad_()
    attack.perturb(lambda z: NoGradient.apply(model.logits(z)), x, Goal(test.targets), Seed())
    assert model.passes.backward == 0


@pytest.mark.parametrize("budget", BUDGETS)
def test_it_breaks_more_than_as_many_random_points(budget: Budget) -> None:
    model, test = robust_model(100)
    x, goal = test.inputs, Goal(test.targets)
    _, success, _ = square(model.logits, x, goal, budget, queries=500, seed=Seed())
    noise, lucky = Seed().generator(), torch.zeros(100, dtype=torch.bool)
    for _ in range(500):
        lucky |= goal.is_reached(model.logits(uniform_start(x, budget, noise)).detach())
    assert int(success.sum()) >= 2 * int(lucky.sum()) + 5


@pytest.mark.parametrize("budget", BUDGETS)
def test_many_windows_a_call_spend_the_same_queries_and_only_improve(budget: Budget) -> None:
    model, test = robust_model(1)
    goal, margins, sizes = Goal(model.answer(test.inputs)), [], []
    small = Budget(budget.kind, budget.amount / 10)  # nothing succeeds

    def logits(z: Tensor) -> Tensor:
        scores: Tensor = model.logits(z)
        same = goal.take(torch.zeros(len(z), dtype=torch.int64))
        margins.append(float(same.margin(scores).max()))
        sizes.append(len(z))
        return scores

    z, success, spent = square(logits, test.inputs, goal, small, queries=50, seed=Seed())
    assert not bool(success.any())
    assert sizes == [1, *[8] * 6, 1]
    assert spent.tolist() == [50]
    assert float(goal.margin(model.logits(z))) == pytest.approx(max(margins), abs=1e-4)


def test_a_network_that_is_wrong_everywhere_costs_one_query_a_row() -> None:
    model, test = robust_model(50)
    goal = Goal((model.answer(test.inputs) + 1) % 10)
    z, metadata = Square(eps=0.0).perturb(model.logits, test.inputs, goal, Seed())
    assert metadata["queries"].tolist() == [1] * 50
    assert torch.equal(z, test.inputs)


def test_a_resumed_run_keeps_its_successes() -> None:
    model, test = robust_model(60)
    x, goal, budget = test.inputs, Goal(test.targets), BUDGETS[0]
    z, success, _ = square(model.logits, x, goal, budget, queries=40, seed=Seed())
    _, more, spent = square(
        model.logits, x, goal, budget, queries=90, seed=Seed(1), start=z, done=40
    )
    clear = goal.margin(model.logits(z)) > ROUNDING
    assert bool(more[clear].all())
    assert bool((spent[success & clear] == 41).all())
    assert bool((spent[~more] == 90).all())


def test_restarts_go_to_the_remaining_rows_and_their_queries_add_up() -> None:
    model, test = robust_model(60)
    attack = Square(eps=0.1, queries=40, restarts=2)
    z, metadata = attack.perturb(model.logits, test.inputs, Goal(test.targets), Seed())
    survived = Goal(test.targets).margin(model.logits(z)) < -ROUNDING
    assert bool((metadata["queries"][survived] == 80).all())
    again, _ = attack.perturb(model.logits, test.inputs, Goal(test.targets), Seed())
    assert torch.equal(z, again)


def test_the_windows_shrink_as_in_the_paper() -> None:
    spent = (1, 11, 51, 201, 501, 1001, 2001, 4001, 6001, 8001)
    assert [0.8 / window_share(query, 0.8) for query in spent] == [2.0**n for n in range(10)]


def test_windows_have_their_size_and_reach_every_pixel() -> None:
    inside, *_ = random_window(torch.zeros(500, 1, 4, 6), 3, Seed().generator())
    assert bool((inside.sum((1, 2, 3)) == 9).all())
    assert bool(inside.any(0).all())


def test_a_bump_has_two_opposite_halves_and_norm_one() -> None:
    for size in (2, 3, 5, 9):
        peaks = bump(size)
        assert float(peaks.norm()) == pytest.approx(1)
        assert bool((peaks[: size // 2] > 0).all())
        assert bool((peaks[size // 2 :] < 0).all())
    # Eq. 2 by hand: peaks of 2x4 and 2x4 with distances 2 1 0 1 from the centre.
    high, middle, low = 1 + 1 / 4 + 1 / 9, 1 / 4 + 1 / 9, 1 / 9
    row = torch.tensor([low, middle, middle, middle])
    torch.testing.assert_close(bump(4)[0] / bump(4)[0, 0], row / low)
    assert float(bump(4)[1, 2] / bump(4)[0, 0]) == pytest.approx(high / low)


def test_tiles_cover_the_image_but_for_a_rim() -> None:
    pattern = tile_pattern(torch.zeros(2, 3, 12, 28), Seed().generator())
    assert bool((pattern[0, 0, :, :] != 0).all())
    rim = tile_pattern(torch.zeros(1, 1, 11, 11), Seed().generator())[0, 0, -1]
    assert float(rim.abs().max()) == 0


def test_no_queries_are_refused() -> None:
    with pytest.raises(BadSetting, match="at least one query"):
        Square(queries=0)
