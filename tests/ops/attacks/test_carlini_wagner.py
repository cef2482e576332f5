"""Carlini and Wagner: known distances, the promised goal, and the fault of public code."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from networks import linear, robust_model
from rounding import same_decisions
from torch import Tensor

from robustbench_kd.attacks.evasion.carlini_wagner import CarliniWagner
from robustbench_kd.attacks.evasion.carlini_wagner_linf import CarliniWagnerLinf
from robustbench_kd.attacks.evasion.pgd import PGD
from robustbench_kd.core.config import Budget
from robustbench_kd.core.errors import BadSetting
from robustbench_kd.core.seed import Seed
from robustbench_kd.integrations import art, torchattacks
from robustbench_kd.ops.attacks.carlini_wagner import carlini_wagner
from robustbench_kd.ops.attacks.projections import distance, lp_norm
from robustbench_kd.ops.attacks.targets import Goal
from robustbench_kd.ops.statistics.bitset import discordant
from robustbench_kd.ops.statistics.paired_tests import mcnemar_exact

WIDE = Budget("l2", 100.0)


def search(
    logits: Callable[[Tensor], Tensor], x: Tensor, goal: Goal, kappa: float = 0.0, steps: int = 60
) -> tuple[Tensor, Tensor]:
    return carlini_wagner(
        logits, x, goal, rounds=8, steps=steps, learning_rate=0.1, c=0.001, kappa=kappa
    )


def test_on_a_linear_network_the_norm_is_the_distance_to_the_plane() -> None:
    logits = linear(2, (1, 4, 5))
    x = 0.5 + 0.2 * torch.rand(12, 1, 4, 5, generator=Seed().generator())
    z = x.clone().requires_grad_()
    margin = logits(z).diff(dim=1).squeeze(1)
    w = torch.autograd.grad(margin.sum(), z)[0]
    exact = margin.detach().abs() / lp_norm(w, "l2")
    nearest, norm = search(logits, x, Goal(logits(x).argmax(1)), steps=200)
    torch.testing.assert_close(norm, exact, rtol=0.02, atol=0.0)
    assert bool((norm >= exact * 0.9999).all())
    torch.testing.assert_close(distance(nearest, x, "l2"), norm)


@pytest.mark.parametrize("kappa", [0.0, 1.5])
@pytest.mark.parametrize("targeted", [False, True])
def test_results_reach_the_goal_by_kappa_and_a_larger_kappa_costs_more(
    targeted: bool, kappa: float
) -> None:
    model, test = robust_model(20)
    x, y = test.inputs, test.targets
    goal = Goal(y, (y + 1) % 10 if targeted else None)
    z, norm = search(model.logits, x, goal, kappa)
    reached = norm.isfinite()
    assert int(reached.sum()) >= 15  # a short search misses some rows, others on other processors
    assert bool((goal.margin(model.logits(z)) > kappa - 1e-4)[reached].all())
    torch.testing.assert_close(distance(z, x, "l2")[reached], norm[reached])
    assert torch.equal(z[~reached], x[~reached])
    if kappa == 0.0 and not targeted:
        assert float(search(model.logits, x, goal, 1.5)[1].median()) > float(norm.median())


def test_inputs_that_are_misclassified_already_need_no_perturbation() -> None:
    model, test = robust_model(20)
    goal = Goal((model.answer(test.inputs) + 1) % 10)
    z, norm = search(model.logits, test.inputs, goal)
    assert torch.equal(norm, torch.zeros(20))
    assert torch.equal(z, test.inputs)
    assert model.passes.backward == 0


def test_rows_beyond_the_radius_submit_the_clean_input_and_still_report_their_norm() -> None:
    model, test = robust_model(30)
    x, goal = test.inputs, Goal(test.targets)
    attack = CarliniWagner(eps=0.7, steps=60)
    z, metadata = attack.perturb(model.logits, x, goal, Seed())
    beyond = metadata["norm"] > 0.7
    assert 0 < int(beyond.sum()) < 30
    assert torch.equal(z[beyond], x[beyond])
    assert same_decisions(goal.take(~beyond), model.logits(z)[~beyond], ~beyond[~beyond])
    assert float(distance(z, x, "l2").max()) <= 0.7
    assert int(metadata["norm"].isfinite().sum()) >= 25


def test_it_drops_rows_that_no_longer_improve_and_no_weight_gets_a_gradient() -> None:
    model, test = robust_model(20)
    model.net.zero_grad()
    search(model.logits, test.inputs, Goal(test.targets))
    assert 0 < model.passes.backward < 20 * 8 * 60
    assert all(weight.grad is None for weight in model.net.parameters())


def test_its_norms_are_no_larger_than_those_of_art_at_equal_steps() -> None:
    model, test = robust_model(8)
    x, goal = test.inputs, Goal(test.targets)
    own_norm = search(model.logits, x, goal, steps=30)[1]
    settings = "max_iter=30,binary_search_steps=8,initial_const=0.001,batch_size=8"
    z = art.run("CarliniL2Method", settings, model.logits, x, goal, WIDE, Seed())
    norm = torch.where(goal.is_reached(model.logits(z)), distance(z, x, "l2"), torch.inf)
    assert float(own_norm.median()) <= 1.02 * float(norm.median())


def test_negative_scores_disable_the_code_of_torchattacks_and_not_ours() -> None:
    """Its margin masks the label by zero, which is the largest score where all are negative."""
    model, test = robust_model(20)
    x, goal = test.inputs, Goal(test.targets)
    misclassified = int((model.answer(x) != test.targets).sum())

    def lowered(z: Tensor) -> Tensor:
        return model.logits(z) - 100

    def broken_by_torchattacks(logits: Callable[[Tensor], Tensor]) -> int:
        z = torchattacks.run("CW", "c=10,steps=100", logits, x, goal, WIDE, Seed())
        return int(goal.is_reached(model.logits(z)).sum())

    assert broken_by_torchattacks(model.logits) > misclassified + 10
    assert broken_by_torchattacks(lowered) == misclassified
    plain, low = search(model.logits, x, goal)[1], search(lowered, x, goal)[1]
    # The shift rounds scores at 1e-5, which a search amplifies; it moves no norm by much.
    assert abs(float(low.median() / plain.median()) - 1) < 0.02
    assert int(((low - plain).abs() <= 0.05 * plain).sum()) >= 16


def test_the_margin_under_pgd_breaks_about_as_many_digits_as_the_cross_entropy() -> None:
    model, test = robust_model(100)
    goal, broken = Goal(test.targets), []
    for attack in (CarliniWagnerLinf(0.1), PGD(0.1, steps=30)):
        z, _ = attack.perturb(model.logits, test.inputs, goal, Seed())
        assert float(distance(z, test.inputs, "linf").max()) <= 0.1 + 1e-6
        broken.append(goal.is_reached(model.logits(z)).tolist())
    margin, entropy = broken
    assert mcnemar_exact(*discordant(entropy, margin)) > 0.01


def test_the_margin_does_not_flatten_where_the_cross_entropy_does() -> None:
    """Scores a thousandfold, as defensive distillation leaves them: the softmax is 0 and 1."""
    model, test = robust_model(40)
    x, goal = test.inputs, Goal(test.targets)

    def sharp(z: Tensor) -> Tensor:
        return 1000 * model.logits(z)

    margin, _ = CarliniWagnerLinf(0.2).perturb(sharp, x, goal, Seed())
    entropy, _ = PGD(0.2, steps=30).perturb(sharp, x, goal, Seed())
    robust = [int((~goal.is_reached(model.logits(z))).sum()) for z in (margin, entropy)]
    assert robust[0] < robust[1] - 5


@pytest.mark.parametrize("changes", [{"steps": 0}, {"rounds": 0}, {"rate": 0.0}, {"c": -1.0}])
def test_impossible_settings_are_refused(changes: dict[str, float]) -> None:
    with pytest.raises(BadSetting, match="carlini-wagner needs"):
        CarliniWagner(**changes)  # type: ignore[arg-type]


def test_the_minimum_norm_form_knows_only_l2() -> None:
    with pytest.raises(BadSetting, match="perturbs within l2, not linf"):
        CarliniWagner(norm="linf")
