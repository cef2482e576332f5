"""Projected gradient ascent on networks whose answer is known, what it costs and what it leaves."""

from __future__ import annotations

import math

import pytest
import torch
from box_images import images
from networks import linear
from rounding import same_decisions
from torch import Tensor, nn

from robustbench_kd.core.config import Budget, Norm
from robustbench_kd.core.seed import Seed
from robustbench_kd.models.classifier import classifier
from robustbench_kd.ops.attacks.gradients import (
    frozen_eval_mode,
    input_gradient,
    score_and_gradient,
)
from robustbench_kd.ops.attacks.pgd import pgd, projected_gradient_ascent, with_restarts, worst_case
from robustbench_kd.ops.attacks.projections import distance
from robustbench_kd.ops.attacks.targets import Goal
from robustbench_kd.scenarios.digits import Digits

KINDS: list[Norm] = ["linf", "l2"]
WEIGHTS = torch.tensor([3.0, -1.0, 2.0, -4.0])  # l1 norm 10, l2 norm sqrt(30)


def opposite_scores(z: Tensor) -> Tensor:
    """Two scores that are each other's negative, linear in four pixels."""
    m = (z.flatten(1) - 0.5) @ WEIGHTS
    return torch.stack([m, -m], 1)


@pytest.mark.parametrize("steps", [1, 4])
@pytest.mark.parametrize(("kind", "dual_norm"), [("linf", 10.0), ("l2", math.sqrt(30.0))])
def test_on_a_linear_network_the_margin_falls_by_the_radius_times_the_dual_norm(
    kind: Norm, dual_norm: float, steps: int
) -> None:
    x, goal = torch.full((5, 1, 2, 2), 0.5), Goal(torch.zeros(5, dtype=torch.int64))

    def logits(z: Tensor) -> Tensor:  # the label leads so far that no row is broken
        return opposite_scores(z) + torch.tensor([9.0, 0.0])

    z, success = pgd(logits, x, goal, Budget(kind, 0.1), steps=steps, stride=1 / steps, start=x)
    assert not bool(success.any())
    fall = (opposite_scores(x) - opposite_scores(z))[:, 0]
    torch.testing.assert_close(fall, torch.full((5,), 0.1 * dual_norm), rtol=1e-5, atol=0)


def test_a_broken_row_leaves_the_batch_and_costs_nothing_more() -> None:
    """Margins of 1/2, 3/2, 5/2 and 9 steps' fall, so rows break at steps 1, 2, 3 and never."""
    batches: list[int] = []
    step, fall = 0.1 / 6, 2 * 10 * 0.1 / 6
    margins = torch.tensor([0.5, 1.5, 2.5, 9.0])

    class Leading(nn.Module):
        def forward(self, z: Tensor) -> Tensor:
            batches.append(len(z))
            margin = z[:, 0, 0, 4].detach() * 9 * fall  # stored in a pixel without a slope
            return opposite_scores(z[..., :4]) + torch.stack([margin, torch.zeros_like(margin)], 1)

    x = torch.full((4, 1, 1, 5), 0.5)
    x[:, 0, 0, 4] = margins / 9
    model, goal = classifier(Leading(), 2), Goal(torch.zeros(4, dtype=torch.int64))
    z, success = pgd(model.logits, x, goal, Budget("linf", 0.1), steps=6, stride=1 / 6, start=x)
    assert success.tolist() == [True, True, True, False]
    assert batches == [4, 4, 3, 2, 1, 1, 1]
    assert model.passes.forward == sum(batches)
    assert model.passes.backward == sum(batches[:-1])  # none after the last step
    steps = distance(z, x, "linf") / step
    torch.testing.assert_close(steps, torch.tensor([1.0, 2.0, 3.0, 6.0]))
    assert same_decisions(goal, model.logits(z), success)


def test_where_all_rows_are_misclassified_at_the_start_one_query_suffices() -> None:
    x, goal = torch.full((5, 1, 2, 2), 0.5), Goal(torch.ones(5, dtype=torch.int64))
    model = classifier(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), 2)
    with torch.no_grad():
        model.net.get_submodule("1").bias.copy_(torch.tensor([9.0, -9.0]))
    z, success = pgd(model.logits, x, goal, Budget("linf", 0.1), steps=50, stride=0.1, start=x)
    assert bool(success.all())
    assert torch.equal(z, x)
    assert (model.passes.forward, model.passes.backward) == (5, 0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_targeted_attack_reaches_its_target(kind: Norm) -> None:
    logits, x = linear(4, (1, 4, 4)), images(5, 12)
    labels = logits(x).argmax(1)
    targets = (labels + 1) % 4
    goal = Goal(labels, targets)
    z, success = pgd(logits, x, goal, Budget(kind, 3.0), steps=40, stride=0.2, start=x)
    assert bool(success.all())
    assert torch.equal(logits(z).argmax(1), targets)


def test_restarts_attack_only_the_remaining_rows() -> None:
    attacked: list[list[int]] = []

    def attack(rows: Tensor, restart: int) -> tuple[Tensor, Tensor]:
        attacked.append(rows.tolist())
        return torch.full((len(rows), 1, 1, 1), float(restart)), rows == restart

    z, success = with_restarts(attack, torch.full((3, 1, 1, 1), 9.0), restarts=9)
    assert attacked == [[0, 1, 2], [1, 2], [2]]
    assert z.flatten().tolist() == [0.0, 1.0, 2.0]
    assert bool(success.all())


def test_plain_ascent_takes_every_step_with_every_row() -> None:
    x = torch.full((2, 1, 2, 2), 0.5)
    z = projected_gradient_ascent(
        lambda z: opposite_scores(z)[:, 0], x, Budget("linf", 0.1), steps=3, stride=0.2, start=x
    )
    direction = torch.tensor([[1.0, -1.0], [1.0, -1.0]])
    torch.testing.assert_close(z - x, (0.06 * direction).expand(2, 1, 2, 2))


def test_an_input_gradient_is_that_of_each_example_alone() -> None:
    x = images(2, 3)
    values, gradient = score_and_gradient(lambda z: z.square().flatten(1).sum(1), x)
    torch.testing.assert_close(gradient, 2 * x)
    torch.testing.assert_close(values, x.square().flatten(1).sum(1))
    with torch.no_grad():
        assert torch.equal(input_gradient(lambda z: z.square().flatten(1).sum(1), x), gradient)
    assert not x.requires_grad


def test_a_network_is_frozen_and_returned_in_its_own_mixed_state() -> None:
    net = Digits().student("resnet-4-8", Seed()).train()
    net.get_submodule("stem_norm").eval()
    net.get_submodule("head").requires_grad_(False)
    modes = [module.training for module in net.modules()]
    flags = [weight.requires_grad for weight in net.parameters()]
    inside = []

    def crash() -> None:
        with frozen_eval_mode(net) as frozen:
            inside.extend(module.training for module in frozen.modules())
            inside.extend(weight.requires_grad for weight in frozen.parameters())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        crash()
    assert inside
    assert not any(inside)
    assert [module.training for module in net.modules()] == modes
    assert [weight.requires_grad for weight in net.parameters()] == flags


def test_the_inner_maximisation_leaves_running_statistics_alone() -> None:
    net, x = Digits().student("resnet-4-8", Seed()).train(), torch.full((4, 1, 8, 8), 0.5)
    before = [buffer.clone() for buffer in net.buffers()]
    z = worst_case(net, x, Budget("linf", 0.1), lambda s, _: s[:, 0], steps=2, stride=0.5, start=x)
    assert all(torch.equal(a, b) for a, b in zip(before, net.buffers(), strict=True))
    assert not torch.equal(z, x)
    assert net.training
