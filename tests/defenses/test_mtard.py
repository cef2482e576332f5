"""MTARD: both terms train the student, and the balance follows the losses of its batches."""

from __future__ import annotations

import copy
import functools

import pytest
import torch
from reference_losses import (
    ce,
    evaluated,
    kl,
    loss_and_slope,
    moved,
    near,
    noise,
    slope,
    toy,
    trained_digest,
)

from robustbench_kd.defenses.mtard import MTARD
from robustbench_kd.training.trainer import TrainStep


def test_both_terms_of_mtard_train_the_student() -> None:
    """The gradient is the weighted sum of two that differ; each weight is set to one in turn."""
    slopes = []
    for weight in (0.0, 1.0):
        context = toy()
        objective = MTARD(pace=0.0).loss(context)
        state = objective.state_dict()  # type: ignore[attr-defined]
        state["shares"]["clean"] = weight
        objective.load_state_dict(state)  # type: ignore[attr-defined]
        loss = objective(context.student, context.data, TrainStep(noise(), 0.5))
        slopes.append(slope(loss, context.student))
    robust, clean = slopes
    assert min(float(robust.norm()), float(clean.norm())) > 1e-3
    half = loss_and_slope(MTARD(pace=0.0), toy())[1]
    torch.testing.assert_close(half, (robust + clean) / 2)
    assert float((robust - clean).norm()) > 1e-2 * float(robust.norm())


def test_without_heat_the_entropy_balance_is_the_plain_balance() -> None:
    plain = trained_digest(MTARD())
    assert trained_digest(MTARD(balance="entropy", heat=0.0)) == plain
    assert trained_digest(MTARD(balance="entropy", heat=0.5)) != plain


def test_the_weights_of_mtard_follow_the_losses_of_its_batches() -> None:
    context = toy()
    objective = MTARD(pace=0.5).loss(context)
    student, robust, clean = context.student, context.teachers["robust"], context.teachers["clean"]
    x, y = context.data.inputs, context.data.targets
    weight, first = 0.5, None
    for _ in range(3):
        second, still = copy.deepcopy(student), evaluated(student)
        z = moved(x, near(x), functools.partial(lambda still, z: ce(still(z), y), still))
        a, n = (
            kl(target, second(w)).mean().item() for target, w in ((robust(z), z), (clean(x), x))
        )
        first = first or (a, n)
        share = (n / first[1]) / (n / first[1] + a / first[0])
        weight -= 0.5 * (weight - share)
        loss = objective(student, context.data, TrainStep(noise(), 0.5))
        assert loss.item() == pytest.approx((1 - weight) * a + weight * n, rel=1e-9)
        with torch.no_grad():
            for p, g in zip(
                student.parameters(),
                torch.autograd.grad(loss, list(student.parameters())),
                strict=True,
            ):
                p.sub_(0.05 * g)
    assert weight != pytest.approx(0.5, abs=1e-4)


def test_the_adaptive_steps_of_mtard_shrink_with_the_learning_rate() -> None:
    """After 85 % of training the pace is a tenth, and so is the heat."""
    moves = []
    for done in (0.84, 0.85):
        context = toy()
        objective = MTARD(balance="entropy", pace=0.5, heat=0.5).loss(context)
        state = objective.state_dict()  # type: ignore[attr-defined]
        state["shares"] = {"clean": 0.9, "first_robust": 1.0, "first_clean": 1.0}
        objective.load_state_dict(state)  # type: ignore[attr-defined]
        objective(context.student, context.data, TrainStep(noise(), done))
        after = objective.state_dict()  # type: ignore[attr-defined]
        heats = after["entropies"]
        moves.append((0.9 - after["shares"]["clean"], max(heats["robust"], heats["clean"]) - 1))
    assert moves[1] == pytest.approx((moves[0][0] / 10, moves[0][1] / 10))
    assert moves[0][1] == pytest.approx(0.5)
