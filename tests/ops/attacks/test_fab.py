"""FAB: nearest points where they are known, and as many wins as its authors' code finds."""

from __future__ import annotations

import pytest
import torch
from networks import asked, linear
from torch import Tensor

from robustbench_kd.attacks.evasion.fab_t import FABT
from robustbench_kd.core.config import Budget, Norm
from robustbench_kd.core.errors import BadSetting
from robustbench_kd.core.seed import Seed
from robustbench_kd.integrations import torchattacks
from robustbench_kd.ops.attacks.fab import fab_targeted, onto_plane
from robustbench_kd.ops.attacks.projections import distance, length
from robustbench_kd.ops.attacks.targets import Goal
from robustbench_kd.ops.statistics.paired_tests import mcnemar_exact

BUDGETS = [Budget("linf", 0.1), Budget("l2", 0.7)]
SHAPE = (1, 4, 5)


def drawn(rows: int, *shape: int) -> Tensor:
    return torch.rand(rows, *shape, generator=(Seed() / "drawn" / rows).generator())


def plane(ask: object, x: Tensor) -> tuple[Tensor, Tensor]:
    """How far the second class leads, and the weights of that."""
    z = x.clone().requires_grad_()
    lead = ask(z).diff(dim=1).squeeze(1)  # type: ignore[operator]
    return lead.detach(), torch.autograd.grad(lead.sum(), z)[0]


@pytest.mark.parametrize("kind", ["linf", "l2"])
def test_on_a_linear_network_it_wins_at_the_distance_to_the_plane_and_not_below(kind: Norm) -> None:
    ask = linear(2, SHAPE)
    x = 0.5 + 0.1 * (drawn(8, *SHAPE) - 0.5)
    lead, w = plane(ask, x)
    exact = lead.abs() / (w.flatten(1).abs().sum(1) if kind == "linf" else length(w, "l2"))
    y = ask(x).argmax(1)
    for row in range(8):
        one, label = x[row : row + 1], y[row : row + 1]
        for share, wins in ((0.99, False), (1.01, True)):
            budget = Budget(kind, share * float(exact[row]))
            z, won = fab_targeted(ask, one, label, 1 - label, budget, steps=20, seed=Seed())
            assert bool(won[0]) == wins
            assert wins or torch.equal(z, one)


@pytest.mark.parametrize("kind", ["linf", "l2"])
def test_the_projection_is_the_known_one_where_no_wall_is_near(kind: Norm) -> None:
    z, slope = torch.full((6, *SHAPE), 0.5), drawn(6, *SHAPE) - 0.5
    gap = torch.linspace(-0.2, 0.2, 6)
    share = gap / slope.flatten(1).abs().sum(1)
    expected = -share.view(-1, 1, 1, 1) * slope.sign()
    if kind == "l2":
        expected = -(gap / length(slope, "l2").square()).view(-1, 1, 1, 1) * slope
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
    # no shorter move does it: in a ball a little smaller, the best corner stays short of the plane
    best = -slope.sign() * gap.sign().view(-1, 1, 1, 1)
    t = length(move, kind).view(-1, 1, 1, 1) * 0.999
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
def test_won_rows_are_wrong_within_ball_and_box_and_lost_rows_are_untouched(
    budget: Budget, restart: int
) -> None:
    subject, test = asked(60)
    x, y = test.inputs, test.targets
    target = subject.logits(x).scatter(1, y[:, None], -torch.inf).argmax(1)
    z, won = fab_targeted(
        subject.logits, x, y, target, budget, steps=20, seed=Seed(), restart=restart
    )
    assert 0 < int(won.sum()) < 60
    assert torch.equal(Goal(y).won(subject.logits(z)) & won, won)
    assert float(distance(z, x, budget.kind).max()) <= budget.amount
    assert torch.equal(z[~won], x[~won])
    assert z.min() >= 0
    assert z.max() <= 1


@pytest.mark.parametrize("budget", [Budget("linf", 0.3), Budget("l2", 2.0)])
def test_a_targeted_goal_is_won_only_by_the_target(budget: Budget) -> None:
    subject, test = asked(30)
    x, y = test.inputs, test.targets
    target = (y + 1) % 10
    z, won = fab_targeted(
        subject.logits, x, y, target, budget, steps=30, seed=Seed(), only_target=True
    )
    assert int(won.sum()) > 15
    assert torch.equal(subject.logits(z).argmax(1)[won], target[won])


def test_won_rows_leave_the_batch_and_no_weight_gets_a_gradient() -> None:
    subject, test = asked(60)
    subject.net.zero_grad()
    FABT(steps=20).perturb(subject.logits, test.inputs, Goal(test.targets), Seed())
    at_least_one_row_a_step = 9 * 20
    assert at_least_one_row_a_step < subject.passes.backward < 60 * 9 * 20
    assert all(weight.grad is None for weight in subject.net.parameters())


@pytest.mark.parametrize("budget", BUDGETS)
def test_it_breaks_as_many_digits_as_the_code_of_torchattacks(budget: Budget) -> None:
    subject, test = asked(60)
    x, goal = test.inputs, Goal(test.targets)
    ours, _ = FABT(eps=budget.amount, norm=budget.kind, steps=20).perturb(
        subject.logits, x, goal, Seed()
    )
    settings = "steps=20,multi_targeted=true"
    theirs = torchattacks.run("FAB", settings, subject.logits, x, goal, budget, Seed())
    near = distance(theirs, x, budget.kind) <= budget.amount + 1e-6
    here, there = goal.won(subject.logits(ours)), goal.won(subject.logits(theirs)) & near
    assert int(there.sum()) > 5
    assert mcnemar_exact(int((there & ~here).sum()), int((here & ~there).sum())) > 0.05


def test_nothing_to_do_is_refused() -> None:
    with pytest.raises(BadSetting, match="at least one step, one target and one restart"):
        FABT(targets=0)
