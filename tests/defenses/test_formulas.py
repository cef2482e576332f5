"""Every defense against its formula, written down once more without any of our parts."""

from __future__ import annotations

from collections.abc import Callable
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
    uniform,
)
from torch import Tensor

from robustbench_kd.defenses.adaad import AdaAD
from robustbench_kd.defenses.adversarial_training import AdversarialTraining
from robustbench_kd.defenses.ard import ARD
from robustbench_kd.defenses.distillation import Distillation
from robustbench_kd.defenses.iad import IAD
from robustbench_kd.defenses.mtard import MTARD
from robustbench_kd.defenses.rslad import RSLAD
from robustbench_kd.defenses.standard_training import StandardTraining
from robustbench_kd.defenses.trades import Trades
from robustbench_kd.models.statistics import weights_digest

Net = Callable[[Tensor], Tensor]


# Each formula takes the student in training and in eval mode, both teachers, images and labels.
def _labels(s: Net, still: Net, r: Net, c: Net, x: Tensor, y: Tensor) -> Tensor:
    return ce(s(x), y)


def _distillation(s: Net, still: Net, r: Net, c: Net, x: Tensor, y: Tensor) -> Tensor:
    plain = s(x)
    return 0.1 * ce(plain, y) + 0.9 * 16 * kl(c(x), plain, 4.0)


def _from_robust(s: Net, still: Net, r: Net, c: Net, x: Tensor, y: Tensor) -> Tensor:
    return 16 * kl(r(x), s(x), 4.0)


def _adversarial(s: Net, still: Net, r: Net, c: Net, x: Tensor, y: Tensor) -> Tensor:
    return ce(s(moved(x, uniform(x), lambda z: ce(still(z), y))), y)


def _trades(s: Net, still: Net, r: Net, c: Net, x: Tensor, y: Tensor) -> Tensor:
    target = still(x).detach()
    z = moved(x, near(x), lambda z: kl(target, still(z)))
    adversarial, plain = s(z), s(x)
    return ce(plain, y) + 6 * kl(plain, adversarial)


def _ard(s: Net, still: Net, r: Net, c: Net, x: Tensor, y: Tensor) -> Tensor:
    z = moved(x, uniform(x), lambda z: ce(still(z), y))
    adversarial, plain = s(z), s(x)
    return 0.6 * 900 * kl(r(x), adversarial, 30.0) + 0.4 * ce(plain, y)


def _rslad(s: Net, still: Net, r: Net, c: Net, x: Tensor, y: Tensor) -> Tensor:
    z = moved(x, near(x), lambda z: kl(r(x), still(z)))
    adversarial, plain = s(z), s(x)
    return 5 / 6 * kl(r(x), adversarial) + 1 / 6 * kl(r(x), plain)


def _iad(s: Net, still: Net, r: Net, c: Net, x: Tensor, y: Tensor) -> Tensor:
    z = moved(x, uniform(x), lambda z: ce(still(z), y))
    adversarial, plain = s(z), s(x)
    known = torch.stack([r(z).softmax(1)[n, y[n]] for n in range(len(y))]) ** 0.1
    return kl(r(x), adversarial) + (1 - known) * kl(plain, adversarial)


def _adaad(s: Net, still: Net, r: Net, c: Net, x: Tensor, y: Tensor) -> Tensor:
    z = moved(x, near(x), lambda z: kl(r(z), still(z)))
    adversarial, plain = s(z), s(x)
    return 0.7 * kl(r(z), adversarial) + 0.3 * kl(r(x), plain)


def _mtard(s: Net, still: Net, r: Net, c: Net, x: Tensor, y: Tensor) -> Tensor:
    z = moved(x, near(x), lambda z: ce(still(z), y))
    adversarial, plain = s(z), s(x)
    return 0.5 * kl(r(z), adversarial) + 0.5 * kl(c(x), plain)  # the first batch: equal weights


FORMULAS: dict[str, tuple[Any, Callable[..., Tensor]]] = {
    "standard-training": (StandardTraining(), _labels),
    "distillation": (Distillation(), _distillation),
    "distillation from the robust teacher": (Distillation("robust"), _from_robust),
    "adversarial-training": (AdversarialTraining(), _adversarial),
    "trades": (Trades(), _trades),
    "ard": (ARD(alpha=0.6), _ard),
    "rslad": (RSLAD(), _rslad),
    "iad": (IAD(), _iad),
    "adaad": (AdaAD(alpha=0.7), _adaad),
    "mtard": (MTARD(), _mtard),
    "mtard with entropies": (MTARD(balance="entropy"), _mtard),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_value_and_gradient_are_those_of_the_formula(name: str) -> None:
    defense, formula = FORMULAS[name]
    context = toy()
    ours, our_slope = loss_and_slope(defense, context)

    given = toy()
    student, x, y = given.student, given.data.inputs, given.data.targets
    robust, clean = given.teachers["robust"], given.teachers["clean"]
    expected = formula(student, evaluated(student), robust, clean, x, y).mean()
    torch.testing.assert_close(ours, expected.detach(), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(our_slope, slope(expected, student), rtol=1e-7, atol=1e-10)
    for buffer, value in student.named_buffers():  # running statistics, of the same passes
        torch.testing.assert_close(context.student.get_buffer(buffer), value)


@pytest.mark.parametrize("defense", [f[0] for f in FORMULAS.values()], ids=list(FORMULAS))
def test_a_batch_leaves_the_modes_of_the_student_and_the_teachers_unchanged(
    defense: Any,
) -> None:
    context = toy()
    context.student.get_submodule("stem_norm").eval()  # mixed modes are restored as they were
    modes = [module.training for module in context.student.modules()]
    before = {role: weights_digest(net.state_dict()) for role, net in context.teachers.items()}
    loss_and_slope(defense, context)
    assert [module.training for module in context.student.modules()] == modes
    assert all(weight.requires_grad for weight in context.student.parameters())
    assert all(weight.grad is None for weight in context.student.parameters())
    for role, net in context.teachers.items():
        assert weights_digest(net.state_dict()) == before[role]
        assert not any(module.training for module in net.modules())
        assert all(weight.grad is None for weight in net.parameters())


@pytest.mark.parametrize(
    ("with_term", "without_term"),
    [
        (ARD(alpha=1.0), ARD(alpha=0.0)),
        (RSLAD(share=1.0), RSLAD(share=0.0)),
        (AdaAD(alpha=1.0), AdaAD(alpha=0.0)),
        (Trades(beta=6.0), Trades(beta=0.0)),
        (IAD(trust=0.1), IAD(trust=0.0)),
        (Distillation(alpha=1.0), Distillation(alpha=0.0)),
        (Distillation("robust"), Distillation("clean", alpha=1.0)),
    ],
    ids=["ard", "rslad", "adaad", "trades", "iad", "distillation", "distillation's teacher"],
)
def test_every_term_has_a_gradient_of_its_own(with_term: Any, without_term: Any) -> None:
    first, second = loss_and_slope(with_term, toy())[1], loss_and_slope(without_term, toy())[1]
    assert float(first.norm()) > 1e-3
    assert float(second.norm()) > 1e-3
    assert float((first - second).norm()) > 1e-2 * float(first.norm())
