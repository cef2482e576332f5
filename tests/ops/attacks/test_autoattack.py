"""APGD-T and AutoAttack: what they compose, what they cost, and what the lean form may not lose."""

from __future__ import annotations

import pytest
import torch
from networks import asked, linear
from torch import Tensor

from robustbench_kd.attacks.evasion.apgd_t import APGDT
from robustbench_kd.attacks.evasion.autoattack import STAGES, AutoAttack
from robustbench_kd.core.config import Budget, Norm
from robustbench_kd.core.errors import BadSetting
from robustbench_kd.core.seed import Seed
from robustbench_kd.ops.attacks.autoattack import by_distance, by_score, one_by_one, pooled
from robustbench_kd.ops.attacks.projections import distance
from robustbench_kd.ops.attacks.siege import Siege
from robustbench_kd.ops.attacks.targets import Goal

LINF = Budget("linf", 0.1)
QUICK = {"steps": 8, "targets": 2, "fab_targets": 1, "queries": 40}


def test_targets_come_in_the_order_of_their_scores_and_never_the_label() -> None:
    scores = torch.tensor([[5.0, 1.0, 3.0, 2.0], [0.0, 1.0, 2.0, 3.0]])
    order = by_score(lambda z: scores, torch.zeros(2, 1, 1, 1), Goal(torch.tensor([0, 1])), 9)
    assert order.tolist() == [[2, 3, 1], [3, 2, 0]]


@pytest.mark.parametrize(("kind", "first"), [("linf", 1), ("l2", 2)])
def test_the_nearest_linear_boundary_comes_first(kind: Norm, first: int) -> None:
    # Both boundaries are one away in score; class 1's slope is spread, class 2's is one pixel's.
    w = torch.tensor([[0.0, 1.0, 1.9], [0.0, 1.0, 0.0], [0.0, 1.0, 0.0]])
    goal = Goal(torch.tensor([0]))
    order = by_distance(
        lambda z: z.flatten(1) @ w + torch.tensor([1.0, 0.0, 0.0]),
        torch.zeros(1, 1, 1, 3),
        goal,
        Budget(kind, 0.1),
        2,
    )
    assert order.tolist() == [[first, 3 - first]]


@pytest.mark.parametrize("classes", [2, 3, 4, 10])
@pytest.mark.parametrize("name", ["apgd-t", "standard", "lean"])
def test_a_linear_network_of_any_number_of_classes_falls_where_it_can(
    name: str, classes: int
) -> None:
    ask = linear(classes, (1, 4, 4))
    x = 0.3 + 0.4 * torch.rand(40, 1, 4, 4, generator=Seed().generator())
    y = ask(x).argmax(1)
    w = ask(torch.eye(16).view(16, 1, 4, 4)) - ask(torch.zeros(1, 1, 4, 4))  # (pixels, classes)
    scores = ask(x)
    gaps = scores.gather(1, y[:, None]) - scores
    reach = 0.02 * (w[:, :, None] - w[:, None]).abs().sum(0)[y]  # (rows, classes)
    certain = ((gaps < 0.999 * reach) & (gaps > 0)).any(1)
    attack = (
        APGDT(eps=0.02)
        if name == "apgd-t"
        else AutoAttack(eps=0.02, form=name, **QUICK | {"steps": 40, "targets": 9})
    )
    z, _ = attack.perturb(ask, x, Goal(y), Seed())
    broken = ask(z).argmax(1) != y
    assert torch.equal(broken, certain)
    assert 0 < int(broken.sum()) < 40


@pytest.mark.parametrize("name", ["apgd-t", "standard", "lean"])
@pytest.mark.parametrize("kind", ["linf", "l2"])
def test_inputs_stay_in_ball_and_box_and_repeat_bit_by_bit(name: str, kind: Norm) -> None:
    subject, test = asked(40)
    eps = 0.1 if kind == "linf" else 0.7
    attack = (
        APGDT(eps=eps, norm=kind, steps=8, n_targets=2)
        if name == "apgd-t"
        else AutoAttack(eps=eps, norm=kind, form=name, **QUICK)
    )
    z, notes = attack.perturb(subject.logits, test.inputs, Goal(test.targets), Seed())
    again, _ = attack.perturb(subject.logits, test.inputs, Goal(test.targets), Seed())
    assert float(distance(z, test.inputs, kind).max()) <= eps + 1e-6
    assert float(z.min()) >= 0
    assert float(z.max()) <= 1
    assert torch.equal(z, again)
    if "stage" in notes:
        assert torch.equal(notes["stage"] >= 0, subject.answer(z) != test.targets)


def test_scores_scaled_by_a_power_of_two_change_no_bit_of_apgd_t() -> None:
    subject, test = asked(40)
    attack, found = APGDT(eps=0.1, steps=10, n_targets=3), []
    for scale in (1.0, 1024.0, 1 / 1024):

        def ask(z: Tensor, scale: float = scale) -> Tensor:
            return subject.logits(z) * scale

        found.append(attack.perturb(ask, test.inputs, Goal(test.targets), Seed())[0])
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


def test_one_pool_finds_what_target_after_target_finds() -> None:
    subject, test = asked(120)
    x, goal = test.inputs, Goal(test.targets)
    order = by_score(subject.logits, x, goal, 4)
    counts = [
        int(way(subject.logits, x, goal, order, LINF, steps=20, seed=Seed())[1].sum())
        for way in (one_by_one, pooled)
    ]
    assert abs(counts[0] - counts[1]) <= 1


def test_a_hit_in_the_pool_ends_all_tries_at_its_example() -> None:
    subject, test = asked(30)
    x = test.inputs
    goal = Goal((subject.answer(x) + 1) % 10)  # all are wrong before they move
    order = by_score(subject.logits, x, goal, 9)
    subject.passes.forward = 0
    _, won = pooled(subject.logits, x, goal, order, Budget("linf", 0.0), steps=50, seed=Seed())
    assert bool(won.all())
    assert subject.passes.forward == 30 * 9


def test_strikes_go_to_the_rows_that_are_left_and_are_remembered() -> None:
    x, sizes = torch.zeros(3, 1, 1, 1), []
    siege = Siege(x, Goal(torch.zeros(3, dtype=torch.int64)))

    def strike(x: Tensor, goal: Goal, near: Tensor) -> tuple[Tensor, Tensor]:
        sizes.append(len(x))
        return near + 1, torch.arange(len(x)) == 0

    assert [siege.strike(stage, strike) for stage in range(5)] == [1, 1, 1, 0, 0]
    assert sizes == [3, 2, 1]
    assert siege.stage.tolist() == [0, 1, 2]
    assert siege.found.flatten().tolist() == [1, 2, 3]


@pytest.mark.parametrize("form", ["standard", "lean"])
def test_a_network_that_is_wrong_everywhere_costs_one_forward_pass_a_row(form: str) -> None:
    subject, test = asked(50)
    goal = Goal((subject.answer(test.inputs) + 1) % 10)
    subject.passes.forward = 0
    z, notes = AutoAttack(form=form).perturb(subject.logits, test.inputs, goal, Seed())
    assert (subject.passes.forward, subject.passes.backward) == (50, 0)
    assert notes["stage"].tolist() == [STAGES.index("clean")] * 50
    assert torch.equal(z, test.inputs)


def test_lean_is_as_strong_as_standard_for_a_third_of_the_passes() -> None:
    broken, spent = {}, {}
    for form in ("standard", "lean"):
        subject, test = asked(16)
        z, _ = AutoAttack(form=form, eps=0.1).perturb(
            subject.logits, test.inputs, Goal(test.targets), Seed()
        )
        spent[form] = subject.passes.forward + subject.passes.backward
        broken[form] = int((subject.answer(z) != test.targets).sum())
    assert 0 < broken["standard"] < 16
    assert broken["lean"] >= broken["standard"] - 1
    assert spent["lean"] <= spent["standard"] / 3


def test_masked_gradients_ring_the_alarm() -> None:
    subject, test = asked(40)

    def ask(z: Tensor) -> Tensor:  # one part in 16: no gradient, yet the answers remain
        return subject.logits((z.detach() * 64).round() / 64) + 0 * z.sum()

    attack = AutoAttack(form="lean", eps=0.1, probe=5, queries=300, alarm_queries=600)
    _, notes = attack.perturb(ask, test.inputs, Goal(test.targets), Seed())
    names = {STAGES[n] for n in notes["stage"].tolist() if n >= 0}
    assert {"square on", "alarm"} <= names


def test_the_settings_hold_every_budget_that_is_spent() -> None:
    standard, lean = AutoAttack(), AutoAttack(form="lean", targets=3)
    assert (standard.steps, standard.targets, standard.fab_targets) == (100, 9, 9)
    assert (standard.probe, standard.queries, standard.kill, standard.climb) == (5000, 5000, 0, 0)
    assert (lean.targets, lean.fab_targets, lean.queries) == (3, 0, 1000)


@pytest.mark.parametrize("attack", [APGDT, AutoAttack])
def test_the_targeted_form_wins_by_the_given_class_alone(attack: type) -> None:
    subject, test = asked(40)
    goal = Goal(test.targets, (test.targets + 1) % 10)
    quick = {"steps": 10} if attack is APGDT else QUICK
    z, notes = attack(eps=0.2, **quick).perturb(subject.logits, test.inputs, goal, Seed())
    reached = subject.answer(z) == goal.targets
    assert 0 < int(reached.sum()) < 40
    if notes:
        assert torch.equal(notes["stage"] >= 0, reached)


def test_impossible_settings_are_refused() -> None:
    for wrong in ({"steps": 0}, {"targets": 0}, {"queries": 0}, {"alarm": 2.0}):
        with pytest.raises(BadSetting):
            AutoAttack(**wrong)
    with pytest.raises(BadSetting, match="one step and one target"):
        APGDT(n_targets=0)
