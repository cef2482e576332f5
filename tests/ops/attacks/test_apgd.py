"""Auto-PGD: what it finds, where it stays, and what it costs."""

from __future__ import annotations

import pytest
import torch
from networks import linear, robust_model
from rounding import same_decisions
from torch import Tensor

from robustbench_kd.attacks.evasion.apgd_ce import APGDCE
from robustbench_kd.core.config import Budget, Norm
from robustbench_kd.core.errors import BadSetting
from robustbench_kd.core.seed import Seed
from robustbench_kd.ops.attacks.apgd import apgd, checkpoints
from robustbench_kd.ops.attacks.pgd import pgd
from robustbench_kd.ops.attacks.projections import distance, uniform_start
from robustbench_kd.ops.attacks.targets import Goal
from robustbench_kd.ops.statistics.bitset import discordant
from robustbench_kd.ops.statistics.paired_tests import mcnemar_exact

BUDGETS = [Budget("linf", 0.1), Budget("l2", 0.7)]


def start(x: Tensor, budget: Budget) -> Tensor:
    return uniform_start(x, budget, Seed().generator())


def test_checkpoints_are_those_of_the_paper() -> None:
    assert checkpoints(100) == [22, 41, 57, 70, 80, 87, 93, 99]
    assert checkpoints(1) == [1] * 8


@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("targeted", [False, True])
def test_inputs_stay_in_ball_and_box_and_success_is_reported(
    budget: Budget, targeted: bool
) -> None:
    model, test = robust_model(60)
    x, y = test.inputs, test.targets
    goal = Goal(y, (y + 1) % 10 if targeted else None)
    z, success = apgd(model.logits, x, goal, budget, steps=20, start=start(x, budget))
    assert float(distance(z, x, budget.kind).max()) <= budget.amount + 1e-6
    assert float(z.min()) >= 0
    assert float(z.max()) <= 1
    assert same_decisions(goal, model.logits(z), success)
    assert 0 < int(success.sum()) < 60


@pytest.mark.parametrize("kind", ["linf", "l2"])
def test_on_a_linear_network_the_best_point_of_the_ball_is_found(kind: Norm) -> None:
    logits, budget = linear(2, (1, 4, 5)), Budget(kind, 0.1)
    x = torch.full((6, 1, 4, 5), 0.5)
    w = torch.autograd.grad(logits(x.requires_grad_()).diff(dim=1).sum(), x)[0][0].flatten()
    x = x.detach()

    def shifted(z: Tensor) -> Tensor:  # class 0 leads so far that no row is ever broken
        return logits(z) + torch.tensor([9.0, 0.0])

    goal = Goal(torch.zeros(6, dtype=torch.int64))
    z, success = apgd(
        shifted, x, goal, budget, steps=30, start=start(x, budget), score=lambda g, s: g.margin(s)
    )
    gain = (shifted(z) - shifted(x)).diff(dim=1).squeeze(1)
    most = 0.1 * float(w.abs().sum() if kind == "linf" else w.norm())
    assert not bool(success.any())
    torch.testing.assert_close(gain, torch.full((6,), most), rtol=1e-3, atol=0)


def test_a_network_that_is_wrong_everywhere_costs_one_forward_pass_a_row() -> None:
    model, test = robust_model(50)
    goal = Goal((model.answer(test.inputs) + 1) % 10)
    model.passes.forward = 0
    budget = Budget("linf", 0.0)
    _, success = apgd(model.logits, test.inputs, goal, budget, steps=100, start=test.inputs)
    assert bool(success.all())
    assert (model.passes.forward, model.passes.backward) == (50, 0)


def test_a_row_that_survives_costs_one_pass_more_than_steps() -> None:
    model, test = robust_model(50)
    x = test.inputs
    goal = Goal(model.answer(x))
    model.passes.forward = 0
    z, success = apgd(model.logits, x, goal, Budget("linf", 0.0), steps=7, start=x)
    assert (model.passes.forward, model.passes.backward) == (50 * 8, 50 * 7)
    assert not bool(success.any())
    assert torch.equal(z, x)


def test_rows_of_one_group_leave_together() -> None:
    model, test = robust_model(2)
    x = test.inputs[:1].expand(4, -1, -1, -1)
    label = int(model.answer(x)[0])
    targets = (label + torch.arange(4)) % 10
    goal = Goal(torch.full((4,), label), targets)  # the first row reaches it before it moves
    budget, groups = Budget("linf", 0.05), torch.tensor([0, 0, 0, 1])
    model.passes.forward = 0
    _, success = apgd(model.logits, x, goal, budget, steps=5, start=x, groups=groups)
    assert success[:3].tolist() == [True, False, False]
    assert model.passes.forward == 4 + 5


@pytest.mark.parametrize("budget", BUDGETS)
def test_it_is_as_strong_as_pgd_of_as_many_steps(budget: Budget) -> None:
    model, test = robust_model(150)
    x, goal = test.inputs, Goal(test.targets)
    _, adaptive = apgd(model.logits, x, goal, budget, steps=50, start=start(x, budget))
    _, fixed = pgd(model.logits, x, goal, budget, steps=50, stride=0.125, start=start(x, budget))
    assert mcnemar_exact(*discordant(fixed.tolist(), adaptive.tolist())) > 0.01


def test_a_constant_added_to_all_scores_changes_nothing_but_rounding() -> None:
    model, test = robust_model(60)
    x, goal, budget = test.inputs, Goal(test.targets), BUDGETS[0]
    _, plain = apgd(model.logits, x, goal, budget, steps=20, start=start(x, budget))
    _, shifted = apgd(
        lambda z: model.logits(z) + 8, x, goal, budget, steps=20, start=start(x, budget)
    )
    assert int((plain != shifted).sum()) <= 1


def test_the_same_seed_gives_the_same_bits_and_restarts_only_add() -> None:
    model, test = robust_model(80)
    goal = Goal(test.targets)
    first, _ = APGDCE(eps=0.1, steps=10).perturb(model.logits, test.inputs, goal, Seed(3))
    again, _ = APGDCE(eps=0.1, steps=10).perturb(model.logits, test.inputs, goal, Seed(3))
    thrice, _ = APGDCE(eps=0.1, steps=10, restarts=3).perturb(
        model.logits, test.inputs, goal, Seed(3)
    )
    assert torch.equal(first, again)
    success, more = (model.answer(z) != test.targets for z in (first, thrice))
    assert bool((more >= success).all())


def test_no_steps_are_refused() -> None:
    with pytest.raises(BadSetting, match="at least one step"):
        APGDCE(steps=0)
