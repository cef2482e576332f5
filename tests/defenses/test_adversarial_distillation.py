"""What tells adversarial distillations apart: gradients, limits and special cases."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from reference_losses import (
    ce,
    evaluated,
    kl,
    loss_and_slope,
    moved,
    near,
    slope,
    toy,
    trained_digest,
)
from torch import Tensor

from robustbench_kd.defenses.adaad import AdaAD
from robustbench_kd.defenses.adversarial_training import AdversarialTraining
from robustbench_kd.defenses.ard import ARD
from robustbench_kd.defenses.distillation import Distillation
from robustbench_kd.defenses.iad import IAD
from robustbench_kd.defenses.rslad import RSLAD
from robustbench_kd.defenses.standard_training import StandardTraining
from robustbench_kd.defenses.trades import Trades


def test_the_target_of_trades_is_not_detached() -> None:
    ours = loss_and_slope(Trades(), toy())[1]
    context = toy()
    student, x, y = context.student, context.data.inputs, context.data.targets
    still = evaluated(student)
    target = still(x).detach()
    z = moved(x, near(x), lambda z: kl(target, still(z)))
    adversarial, plain = student(z), student(x)
    detached = slope((ce(plain, y) + 6 * kl(plain.detach(), adversarial)).mean(), student)
    assert float((ours - detached).norm()) > 1e-2 * float(ours.norm())


def test_the_inner_gradient_of_adaad_flows_through_the_teacher() -> None:
    context = toy()
    still, robust, x = evaluated(context.student), context.teachers["robust"], context.data.inputs
    through = moved(x, near(x), lambda z: kl(robust(z), still(z)))
    around = moved(x, near(x), lambda z: kl(robust(z).detach(), still(z)))
    assert not torch.equal(through, around)
    target = robust(through)
    expected = kl(target, context.student(through)).mean()
    torch.testing.assert_close(loss_and_slope(AdaAD(), toy())[0], expected.detach())


@pytest.mark.parametrize("done", [0.0, 0.299])
def test_before_it_begins_iad_is_ard_at_temperature_one(done: float) -> None:
    iad, ard = (loss_and_slope(d, toy(), done) for d in (IAD(begin=0.3), ARD(temperature=1.0)))
    assert torch.equal(iad[0], ard[0])
    assert torch.equal(iad[1], ard[1])
    begun = loss_and_slope(IAD(begin=0.3), toy(), 0.3)
    assert float(begun[0]) > float(iad[0]), "the second term adds a divergence"


def test_a_training_by_iad_that_never_begins_or_always_trusts_is_that_of_ard() -> None:
    """The seeds are the context's, not the method's, so the attacks draw the same."""
    ard = trained_digest(ARD(temperature=1.0))
    assert trained_digest(IAD(begin=1.0)) == ard
    assert trained_digest(IAD(begin=0.0, trust=0.0)) == ard
    assert trained_digest(IAD(begin=0.0)) != ard


def test_without_a_radius_the_adversarial_forms_are_plain_distillation() -> None:
    def value(defense: Any) -> Tensor:
        return loss_and_slope(defense, toy(eps=0.0))[0]

    robust = Distillation("robust", temperature=1.0, alpha=1.0)
    for defense in (ARD(temperature=1.0), RSLAD(), AdaAD(), AdaAD(alpha=0.3)):
        torch.testing.assert_close(value(defense), value(robust))
    torch.testing.assert_close(value(AdversarialTraining()), value(StandardTraining()))
    torch.testing.assert_close(value(Trades()), value(StandardTraining()))


def test_distillation_weighs_the_labels_only_beside_the_clean_teacher() -> None:
    assert torch.equal(
        loss_and_slope(Distillation("clean"), toy())[0],
        loss_and_slope(Distillation("clean", alpha=0.9), toy())[0],
    )
    assert torch.equal(
        loss_and_slope(Distillation("robust"), toy())[0],
        loss_and_slope(Distillation("robust", alpha=1.0), toy())[0],
    )
