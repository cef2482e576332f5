"""FAB: nearest points where they are known, and as much success as its authors' code."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from networks import linear, robust_model
from rounding import same_decisions
from torch import Tensor

from robustbench_kd.attacks.evasion.fab_t import FABT
from robustbench_kd.core.config import Budget, Norm
from robustbench_kd.core.errors import BadSetting
from robustbench_kd.core.seed import Seed
from robustbench_kd.integrations import torchattacks
from robustbench_kd.ops.attacks.fab import fab_targeted, onto_plane
from robustbench_kd.ops.attacks.projections import distance, lp_norm
from robustbench_kd.ops.attacks.targets import Goal
from robustbench_kd.ops.statistics.paired_tests import mcnemar_exact

BUDGETS = [Budget("linf", 0.1), Budget("l2", 0.7)]
SHAPE = (1, 4, 5)


def drawn(rows: int, *shape: int) -> Tensor:
    return torch.rand(rows, *shape, generator=(Seed() / "drawn" / rows).generator())


def plane(logits: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    """The margin of the second class, and its weights."""
    z = x.clone().requires_grad_()
    margin = logits(z).diff(dim=1).squeeze(1)
    return margin.detach(), torch.autograd.grad(margin.sum(), z)[0]


@pytest.mark.parametrize("kind", ["linf", "l2"])
def test_on_a_linear_network_it_succeeds_at_the_distance_to_the_plane_and_not_below(
    kind: Norm,
) -> None:
    logits = linear(2, SHAPE)
    x = 0.5 + 0.1 * (drawn(8, *SHAPE) - 0.5)
    margin, w = plane(logits, x)
    exact = margin.abs() / (w.flatten(1).abs().sum(1) if kind == "linf" else lp_norm(w, "l2"))
    y = logits(x).argmax(1)
    for row in range(8):
        image, label = x[row : row + 1], y[row : row + 1]
        for share, succeeds in ((0.99, False), (1.01, True)):
            budget = Budget(kind, share * float(exact[row]))
            z, success = fab_targeted(
                logits, image, label, 1 - label, budget, steps=20, seed=Seed()
            )
            assert bool(success[0]) == succeeds
            assert succeeds or torch.equal(z, image)


@pytest.mark.parametrize("kind", ["linf", "l2"])
def test_the_projection_is_the_known_one_where_no_wall_is_near(kind: Norm) -> None:
    z, slope = torch.full((6, *SHAPE), 0.5), drawn(6, *SHAPE) - 0.5
    gap = torch.linspace(-0.2, 0.2, 6)
    share = gap / slope.flatten(1).abs().sum(1)
    expected = -share.view(-1, 1, 1, 1) * slope.sign()
    if kind == "l2":
        expected = -(gap / lp_norm(slope, "l2").square()).view(-1, 1, 1, 1) * slope
    torch.testing.assert_close(onto_plane(z, gap, slope, kind), expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("kind", ["linf", "l2"])
def test_the_projection_ends_on_the_plane_inside_the_box_and_is_the_shortest(kind: Norm) -> None:
    z, slope = drawn(60, *SHAPE), drawn(61, *SHAPE)[1:] - 0.5
    gap = 3 * (drawn(62, 1)[2:, 0] - 0.5)
    move = onto_plane(z, gap, slope, kind)
    torch.testing.assert_close(
        gap + (slope * move).flatten(1).sum(1), torch.zeros(60), rtol=0, atol=1e-5
    )
    assert float((z + move).min()) >= 0
    assert float((z + move).max()) <= 1 + 1e-6
    # No shorter move does: in a slightly smaller ball, the best corner does not reach the plane.
    best = -slope.sign() * gap.sign().view(-1, 1, 1, 1)
    t = lp_norm(move, kind).view(-1, 1, 1, 1) * 0.999
    if kind == "linf":
        reached = (z + t * best).clamp(0, 1) - z
        assert bool(((slope * reached).flatten(1).sum(1).abs() < gap.abs()).all())
    else:  # optimal for L2 by its condition: moved pixels are at their wall or along the slope
        free = ((z + move) > 1e-6) & ((z + move) < 1 - 1e-6)
        ratio = (move / slope).abs().masked_fill(~free, 0).flatten(1)
        torch.testing.assert_close(
            torch.where(free.flatten(1), ratio.amax(1, keepdim=True), 0.0), ratio, rtol=1e-3, atol=0
        )


def test_where_the_plane_lies_outside_the_box_every_pixel_goes_to_its_wall() -> None:
    z, slope = drawn(5, *SHAPE), torch.ones(5, *SHAPE)
    move = onto_plane(z, torch.full((5,), -100.0), slope, "l2")
    torch.testing.assert_close(z + move, torch.ones_like(z))


@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("restart", [0, 1])
def test_success_lies_within_ball_and_box_and_other_rows_are_unchanged(
    budget: Budget, restart: int
) -> None:
    model, test = robust_model(60)
    x, y = test.inputs, test.targets
    target = model.logits(x).scatter(1, y[:, None], -torch.inf).argmax(1)
    z, success = fab_targeted(
        model.logits, x, y, target, budget, steps=20, seed=Seed(), restart=restart
    )
    assert 0 < int(success.sum()) < 60
    scores = model.logits(z)[success]
    assert same_decisions(Goal(y[success]), scores, torch.ones(len(scores), dtype=torch.bool))
    assert float(distance(z, x, budget.kind).max()) <= budget.amount
    assert torch.equal(z[~success], x[~success])
    assert z.min() >= 0
    assert z.max() <= 1


@pytest.mark.parametrize("budget", [Budget("linf", 0.3), Budget("l2", 2.0)])
def test_a_targeted_goal_is_reached_only_by_the_target(budget: Budget) -> None:
    model, test = robust_model(30)
    x, y = test.inputs, test.targets
    target = (y + 1) % 10
    z, success = fab_targeted(
        model.logits, x, y, target, budget, steps=30, seed=Seed(), only_target=True
    )
    assert int(success.sum()) > 15
    scores, reached = model.logits(z)[success], torch.ones(int(success.sum()), dtype=torch.bool)
    assert same_decisions(Goal(y[success], target[success]), scores, reached)


def test_broken_rows_leave_the_batch_and_no_weight_gets_a_gradient() -> None:
    model, test = robust_model(60)
    model.net.zero_grad()
    FABT(steps=20).perturb(model.logits, test.inputs, Goal(test.targets), Seed())
    at_least_one_row_a_step = 9 * 20
    assert at_least_one_row_a_step < model.passes.backward < 60 * 9 * 20
    assert all(weight.grad is None for weight in model.net.parameters())


@pytest.mark.parametrize("budget", BUDGETS)
def test_it_breaks_as_many_digits_as_the_code_of_torchattacks(budget: Budget) -> None:
    model, test = robust_model(60)
    x, goal = test.inputs, Goal(test.targets)
    attack = FABT(eps=budget.amount, norm=budget.kind, steps=20)
    broken = goal.is_reached(model.logits(attack.perturb(model.logits, x, goal, Seed())[0]))
    settings = "steps=20,multi_targeted=true"
    z = torchattacks.run("FAB", settings, model.logits, x, goal, budget, Seed())
    inside = distance(z, x, budget.kind) <= budget.amount + 1e-6
    broken_by_torchattacks = goal.is_reached(model.logits(z)) & inside
    assert int(broken_by_torchattacks.sum()) > 5
    lost = int((broken_by_torchattacks & ~broken).sum())
    won = int((broken & ~broken_by_torchattacks).sum())
    assert mcnemar_exact(lost, won) > 0.05


def test_zero_targets_are_refused() -> None:
    with pytest.raises(BadSetting, match="at least one step, one target and one restart"):
        FABT(targets=0)
