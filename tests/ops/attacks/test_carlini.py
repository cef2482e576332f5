"""Carlini and Wagner: known distances, the goal they promise, and the fault of public code."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from networks import asked, linear
from torch import Tensor

from robustbench_kd.attacks.evasion.carlini_wagner import CarliniWagner
from robustbench_kd.attacks.evasion.carlini_wagner_linf import CarliniWagnerLinf
from robustbench_kd.attacks.evasion.pgd import PGD
from robustbench_kd.core.config import Budget
from robustbench_kd.core.errors import BadSetting
from robustbench_kd.core.seed import Seed
from robustbench_kd.integrations import art, torchattacks
from robustbench_kd.ops.attacks.carlini_wagner import carlini_wagner
from robustbench_kd.ops.attacks.projections import distance, length
from robustbench_kd.ops.attacks.targets import Goal

WIDE = Budget("l2", 100.0)


def searched(
    ask: Callable[[Tensor], Tensor], x: Tensor, goal: Goal, kappa: float = 0.0, steps: int = 60
) -> tuple[Tensor, Tensor]:
    return carlini_wagner(ask, x, goal, rounds=8, steps=steps, rate=0.1, c=0.001, kappa=kappa)


def test_on_a_linear_network_the_norm_is_the_distance_to_the_plane() -> None:
    ask = linear(2, (1, 4, 5))
    x = 0.5 + 0.2 * torch.rand(12, 1, 4, 5, generator=Seed().generator())
    z = x.clone().requires_grad_()
    lead = ask(z).diff(dim=1).squeeze(1)
    w = torch.autograd.grad(lead.sum(), z)[0]
    exact = lead.detach().abs() / length(w, "l2")
    found, norm = searched(ask, x, Goal(ask(x).argmax(1)), steps=200)
    torch.testing.assert_close(norm, exact, rtol=0.02, atol=0.0)
    assert bool((norm >= exact * 0.9999).all())
    torch.testing.assert_close(distance(found, x, "l2"), norm)


@pytest.mark.parametrize("kappa", [0.0, 1.5])
@pytest.mark.parametrize("targeted", [False, True])
def test_what_is_found_reaches_the_goal_by_kappa_and_more_costs_more(
    targeted: bool, kappa: float
) -> None:
    subject, test = asked(20)
    x, y = test.inputs, test.targets
    goal = Goal(y, (y + 1) % 10 if targeted else None)
    z, norm = searched(subject.logits, x, goal, kappa)
    assert bool(norm.isfinite().all())
    assert bool((goal.lead(subject.logits(z)) > kappa - 1e-4).all())
    torch.testing.assert_close(distance(z, x, "l2"), norm)
    if kappa == 0.0 and not targeted:
        assert float(searched(subject.logits, x, goal, 1.5)[1].median()) > float(norm.median())


def test_inputs_that_are_wrong_already_need_nothing() -> None:
    subject, test = asked(20)
    said = subject.answer(test.inputs)
    z, norm = searched(subject.logits, test.inputs, Goal((said + 1) % 10))
    assert torch.equal(norm, torch.zeros(20))
    assert torch.equal(z, test.inputs)
    assert subject.passes.backward == 0


def test_rows_beyond_the_radius_hand_in_the_clean_input_and_still_tell_their_norm() -> None:
    subject, test = asked(30)
    x, goal = test.inputs, Goal(test.targets)
    attack = CarliniWagner(eps=0.7, steps=60)
    z, notes = attack.perturb(subject.logits, x, goal, Seed())
    beyond = notes["norm"] > 0.7
    assert 0 < int(beyond.sum()) < 30
    assert torch.equal(z[beyond], x[beyond])
    assert bool(goal.won(subject.logits(z))[~beyond].all())
    assert float(distance(z, x, "l2").max()) <= 0.7
    assert bool(notes["norm"].isfinite().all())


def test_it_gives_up_rows_that_no_longer_improve_and_no_weight_gets_a_gradient() -> None:
    subject, test = asked(20)
    subject.net.zero_grad()
    searched(subject.logits, test.inputs, Goal(test.targets))
    assert 0 < subject.passes.backward < 20 * 8 * 60
    assert all(weight.grad is None for weight in subject.net.parameters())


def test_its_norms_are_no_larger_than_those_of_art_at_equal_steps() -> None:
    subject, test = asked(8)
    x, goal = test.inputs, Goal(test.targets)
    ours = searched(subject.logits, x, goal, steps=30)[1]
    settings = "max_iter=30,binary_search_steps=8,initial_const=0.001,batch_size=8"
    theirs = art.run("CarliniL2Method", settings, subject.logits, x, goal, WIDE, Seed())
    broke = goal.won(subject.logits(theirs))
    norm = torch.where(broke, distance(theirs, x, "l2"), torch.inf)
    assert bool(ours.isfinite().all())
    assert float(ours.median()) <= float(norm.median())


def test_negative_scores_stop_the_code_of_torchattacks_and_not_ours() -> None:
    """Its margin masks the label by zero, which is the largest score where all are negative."""
    subject, test = asked(20)
    x, goal = test.inputs, Goal(test.targets)
    wrong = int((subject.answer(x) != test.targets).sum())

    def lowered(z: Tensor) -> Tensor:
        return subject.logits(z) - 100

    def theirs(ask: Callable[[Tensor], Tensor]) -> int:
        z = torchattacks.run("CW", "c=10,steps=100", ask, x, goal, WIDE, Seed())
        return int(goal.won(subject.logits(z)).sum())

    assert theirs(subject.logits) > wrong + 10
    assert theirs(lowered) == wrong
    plain, low = searched(subject.logits, x, goal)[1], searched(lowered, x, goal)[1]
    torch.testing.assert_close(low, plain, rtol=0.05, atol=0.0)
    assert abs(float(low.median() / plain.median()) - 1) < 0.01


def test_the_margin_under_pgd_breaks_no_fewer_digits_than_the_cross_entropy() -> None:
    subject, test = asked(100)
    goal, broke = Goal(test.targets), []
    for attack in (CarliniWagnerLinf(0.1), PGD(0.1, steps=30)):
        z, _ = attack.perturb(subject.logits, test.inputs, goal, Seed())
        assert float(distance(z, test.inputs, "linf").max()) <= 0.1 + 1e-6
        broke.append(int(goal.won(subject.logits(z)).sum()))
    assert broke[0] >= broke[1] - 2


def test_the_margin_does_not_flatten_where_the_cross_entropy_does() -> None:
    """Scores a thousandfold, as defensive distillation leaves them: the softmax is 0 and 1."""
    subject, test = asked(40)
    x, goal = test.inputs, Goal(test.targets)

    def sharp(z: Tensor) -> Tensor:
        return 1000 * subject.logits(z)

    margin, _ = CarliniWagnerLinf(0.2).perturb(sharp, x, goal, Seed())
    entropy, _ = PGD(0.2, steps=30).perturb(sharp, x, goal, Seed())
    right = [int((~goal.won(subject.logits(z))).sum()) for z in (margin, entropy)]
    assert right[0] < right[1] - 5


@pytest.mark.parametrize("changes", [{"steps": 0}, {"rounds": 0}, {"rate": 0.0}, {"c": -1.0}])
def test_impossible_settings_are_refused(changes: dict[str, float]) -> None:
    with pytest.raises(BadSetting, match="carlini-wagner needs"):
        CarliniWagner(**changes)  # type: ignore[arg-type]


def test_the_minimum_norm_form_knows_only_l2() -> None:
    with pytest.raises(BadSetting, match="knows only l2, not linf"):
        CarliniWagner(norm="linf")
