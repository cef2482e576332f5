"""APGD-T and AutoAttack: what they compose, what they cost, and what the fast version keeps."""

from __future__ import annotations

import pytest
import torch
from networks import linear, robust_model
from rounding import same_decisions
from torch import Tensor

from robustbench_kd.attacks.evasion.apgd_t import APGDT
from robustbench_kd.attacks.evasion.autoattack import STAGES, AutoAttack
from robustbench_kd.core.config import Budget, Norm
from robustbench_kd.core.errors import BadSetting
from robustbench_kd.core.seed import Seed
from robustbench_kd.ops.attacks.autoattack import (
    AttackCascade,
    apgd_targeted,
    apgd_targeted_pooled,
    targets_by_distance,
    targets_by_score,
)
from robustbench_kd.ops.attacks.projections import distance
from robustbench_kd.ops.attacks.targets import Goal

LINF = Budget("linf", 0.1)
QUICK = {"steps": 8, "targets": 2, "fab_targets": 1, "queries": 40}


def test_targets_come_in_the_order_of_their_scores_and_never_the_label() -> None:
    scores = torch.tensor([[5.0, 1.0, 3.0, 2.0], [0.0, 1.0, 2.0, 3.0]])
    order = targets_by_score(
        lambda z: scores, torch.zeros(2, 1, 1, 1), Goal(torch.tensor([0, 1])), 9
    )
    assert order.tolist() == [[2, 3, 1], [3, 2, 0]]


@pytest.mark.parametrize(("kind", "first"), [("linf", 1), ("l2", 2)])
def test_the_nearest_linear_boundary_comes_first(kind: Norm, first: int) -> None:
    # Both boundaries are one away in score; class 1's slope is spread, class 2's is one pixel's.
    w = torch.tensor([[0.0, 1.0, 1.9], [0.0, 1.0, 0.0], [0.0, 1.0, 0.0]])
    goal = Goal(torch.tensor([0]))
    order = targets_by_distance(
        lambda z: z.flatten(1) @ w + torch.tensor([1.0, 0.0, 0.0]),
        torch.zeros(1, 1, 1, 3),
        goal,
        Budget(kind, 0.1),
        2,
    )
    assert order.tolist() == [[first, 3 - first]]


@pytest.mark.parametrize("classes", [2, 3, 4, 10])
@pytest.mark.parametrize("name", ["apgd-t", "standard", "fast"])
def test_a_linear_network_of_any_number_of_classes_falls_where_it_can(
    name: str, classes: int
) -> None:
    logits = linear(classes, (1, 4, 4))
    x = 0.3 + 0.4 * torch.rand(40, 1, 4, 4, generator=Seed().generator())
    y = logits(x).argmax(1)
    w = logits(torch.eye(16).view(16, 1, 4, 4)) - logits(torch.zeros(1, 1, 4, 4))
    scores = logits(x)
    gaps = scores.gather(1, y[:, None]) - scores
    reach = 0.02 * (w[:, :, None] - w[:, None]).abs().sum(0)[y]  # w is (pixels, classes)
    breakable = ((gaps < 0.999 * reach) & (gaps > 0)).any(1)
    attack = (
        APGDT(eps=0.02)
        if name == "apgd-t"
        else AutoAttack(eps=0.02, version=name, **QUICK | {"steps": 40, "targets": 9})
    )
    z, _ = attack.perturb(logits, x, Goal(y), Seed())
    broken = logits(z).argmax(1) != y
    assert torch.equal(broken, breakable)
    assert 0 < int(broken.sum()) < 40


@pytest.mark.parametrize("name", ["apgd-t", "standard", "fast"])
@pytest.mark.parametrize("kind", ["linf", "l2"])
def test_inputs_stay_in_ball_and_box_and_repeat_bit_by_bit(name: str, kind: Norm) -> None:
    model, test = robust_model(40)
    eps = 0.1 if kind == "linf" else 0.7
    attack = (
        APGDT(eps=eps, norm=kind, steps=8, n_targets=2)
        if name == "apgd-t"
        else AutoAttack(eps=eps, norm=kind, version=name, **QUICK)
    )
    z, metadata = attack.perturb(model.logits, test.inputs, Goal(test.targets), Seed())
    again, _ = attack.perturb(model.logits, test.inputs, Goal(test.targets), Seed())
    assert float(distance(z, test.inputs, kind).max()) <= eps + 1e-6
    assert float(z.min()) >= 0
    assert float(z.max()) <= 1
    assert torch.equal(z, again)
    if "stage" in metadata:
        assert same_decisions(Goal(test.targets), model.logits(z), metadata["stage"] >= 0)


def test_scores_scaled_by_a_power_of_two_change_no_bit_of_apgd_t() -> None:
    model, test = robust_model(40)
    attack, inputs = APGDT(eps=0.1, steps=10, n_targets=3), []
    for scale in (1.0, 1024.0, 1 / 1024):

        def logits(z: Tensor, scale: float = scale) -> Tensor:
            return model.logits(z) * scale

        inputs.append(attack.perturb(logits, test.inputs, Goal(test.targets), Seed())[0])
    assert torch.equal(inputs[0], inputs[1])
    assert torch.equal(inputs[0], inputs[2])


def test_one_pool_of_targets_breaks_as_many_as_target_after_target() -> None:
    model, test = robust_model(120)
    x, goal = test.inputs, Goal(test.targets)
    order = targets_by_score(model.logits, x, goal, 4)
    counts = [
        int(attack(model.logits, x, goal, order, LINF, steps=20, seed=Seed())[1].sum())
        for attack in (apgd_targeted, apgd_targeted_pooled)
    ]
    assert abs(counts[0] - counts[1]) <= 3


def test_a_success_in_the_pool_removes_all_targets_of_its_example() -> None:
    model, test = robust_model(30)
    x = test.inputs
    goal = Goal((model.answer(x) + 1) % 10)  # all are misclassified before they move
    order = targets_by_score(model.logits, x, goal, 9)
    model.passes.forward = 0
    _, success = apgd_targeted_pooled(
        model.logits, x, goal, order, Budget("linf", 0.0), steps=50, seed=Seed()
    )
    assert bool(success.all())
    assert model.passes.forward == 30 * 9


def test_each_attack_of_a_cascade_gets_the_remaining_rows_and_the_last_inputs() -> None:
    x, sizes = torch.zeros(3, 1, 1, 1), []
    cascade = AttackCascade(x, Goal(torch.zeros(3, dtype=torch.int64)))

    def attack(x: Tensor, goal: Goal, last: Tensor) -> tuple[Tensor, Tensor]:
        sizes.append(len(x))
        return last + 1, torch.arange(len(x)) == 0

    assert [cascade.run(stage, attack) for stage in range(5)] == [1, 1, 1, 0, 0]
    assert sizes == [3, 2, 1]
    assert cascade.stage.tolist() == [0, 1, 2]
    assert cascade.inputs.flatten().tolist() == [1, 2, 3]


@pytest.mark.parametrize("version", ["standard", "fast"])
def test_a_network_that_is_wrong_everywhere_costs_one_forward_pass_a_row(version: str) -> None:
    model, test = robust_model(50)
    goal = Goal((model.answer(test.inputs) + 1) % 10)
    model.passes.forward = 0
    z, metadata = AutoAttack(version=version).perturb(model.logits, test.inputs, goal, Seed())
    assert (model.passes.forward, model.passes.backward) == (50, 0)
    assert metadata["stage"].tolist() == [STAGES.index("clean")] * 50
    assert torch.equal(z, test.inputs)


@pytest.mark.slow
def test_fast_is_as_strong_as_standard_for_a_third_of_the_passes() -> None:
    broken, spent = {}, {}
    for version in ("standard", "fast"):
        model, test = robust_model(16)
        z, _ = AutoAttack(version=version, eps=0.1).perturb(
            model.logits, test.inputs, Goal(test.targets), Seed()
        )
        spent[version] = model.passes.forward + model.passes.backward
        broken[version] = int((model.answer(z) != test.targets).sum())
    assert 0 < broken["standard"] < 16
    assert broken["fast"] >= broken["standard"] - 2
    assert spent["fast"] <= spent["standard"] / 3


def test_masked_gradients_extend_the_random_search() -> None:
    model, test = robust_model(40)

    def logits(z: Tensor) -> Tensor:  # one part in 16: no gradient, yet the answers remain
        return model.logits((z.detach() * 64).round() / 64) + 0 * z.sum()

    passes = {}
    for alarm in (0.01, 1.0):  # the latter never goes off
        model.passes.forward = 0
        budgets = {"probe": 5, "queries": 300, "alarm_queries": 600}
        attack = AutoAttack(version="fast", eps=0.1, alarm=alarm, **budgets)
        _, metadata = attack.perturb(logits, test.inputs, Goal(test.targets), Seed())
        passes[alarm] = model.passes.forward
        assert STAGES.index("square-continued") in metadata["stage"].tolist()
    assert passes[0.01] > passes[1.0]


def test_the_settings_hold_every_budget_that_is_spent() -> None:
    standard, fast = AutoAttack(), AutoAttack(version="fast", targets=3)
    assert (standard.steps, standard.targets, standard.fab_targets) == (100, 9, 9)
    assert (standard.probe, standard.queries, standard.kill, standard.climb) == (5000, 5000, 0, 0)
    assert (fast.targets, fast.fab_targets, fast.queries) == (3, 0, 1000)


@pytest.mark.parametrize("attack", [APGDT, AutoAttack])
def test_the_targeted_form_succeeds_by_the_given_class_alone(attack: type) -> None:
    model, test = robust_model(40)
    goal = Goal(test.targets, (test.targets + 1) % 10)
    quick = {"steps": 10} if attack is APGDT else QUICK
    z, metadata = attack(eps=0.2, **quick).perturb(model.logits, test.inputs, goal, Seed())
    reached = model.answer(z) == goal.targets
    assert 0 < int(reached.sum()) < 40
    if metadata:
        assert same_decisions(goal, model.logits(z), metadata["stage"] >= 0)


def test_impossible_settings_are_refused() -> None:
    for wrong in ({"steps": 0}, {"targets": 0}, {"queries": 0}, {"alarm": 2.0}):
        with pytest.raises(BadSetting):
            AutoAttack(**wrong)
    with pytest.raises(BadSetting, match="one step and one target"):
        APGDT(n_targets=0)
