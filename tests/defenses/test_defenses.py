"""Every method against its formula, written down once more without any of our parts."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustbench_kd.core.config import Budget, Schedule
from robustbench_kd.core.protocols import Brief
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.types import Examples
from robustbench_kd.defenses import _base
from robustbench_kd.defenses.adaad import AdaAD
from robustbench_kd.defenses.adversarial_training import AdversarialTraining
from robustbench_kd.defenses.ard import ARD
from robustbench_kd.defenses.defensive_distillation import DefensiveDistillation
from robustbench_kd.defenses.distillation import Distillation
from robustbench_kd.defenses.iad import IAD
from robustbench_kd.defenses.labels import Labels
from robustbench_kd.defenses.mtard import MTARD
from robustbench_kd.defenses.proard import ProARD
from robustbench_kd.defenses.rslad import RSLAD
from robustbench_kd.defenses.trades import Trades
from robustbench_kd.models.elastic_resnet import ElasticResNet
from robustbench_kd.models.statistics import weights_digest
from robustbench_kd.scenarios.digits import Digits
from robustbench_kd.training.trainer import Turn

EPS = 0.1
Net = Callable[[Tensor], Tensor]
Score = Callable[[Tensor, Tensor], Tensor]


def network(name: str) -> nn.Module:
    """A tiny network in double precision, with opinions and statistics of its own."""
    net = Digits().student("resnet-4-8", Seed() / name).double()
    noise = (Seed() / name / "statistics").generator()
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean = torch.rand(layer.num_features, generator=noise).double() / 4
            layer.running_var = torch.rand(layer.num_features, generator=noise).double() + 0.5
        if isinstance(layer, nn.Linear):
            layer.weight.data.mul_(4)
    return net


def toy(epochs: int = 1, eps: float = EPS) -> Brief:
    """Eight digits, a student in training mode, and a frozen teacher for each role."""
    data = Digits().splits(Seed(), whole=True).train.take(torch.arange(8))
    roles = ("clean", "robust")
    return Brief(
        data=Examples(data.ids, data.inputs.double(), data.targets),
        teachers={role: network(role).eval().requires_grad_(False) for role in roles},
        student=network("student").train(),
        budget=Budget("linf", eps),
        schedule=Schedule(epochs=epochs, batch=4),
        seed=Seed(7),
    )


def noise() -> torch.Generator:
    return Seed(3).generator()


def evaluated(net: nn.Module) -> nn.Module:
    return copy.deepcopy(net).eval()


def kl(target: Tensor, predicted: Tensor, t: float = 1.0) -> Tensor:
    """KL(target || predicted) by torch's own, one number an example."""
    p, q = (target / t).softmax(1), (predicted / t).log_softmax(1)
    return F.kl_div(q, p, reduction="none").sum(1)


def ce(logits: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(logits, y, reduction="none")


def moved(x: Tensor, start: Tensor, score: Callable[[Tensor], Tensor]) -> Tensor:
    """Five steps of a quarter of the radius, in a straight line of code."""
    z = start
    for _ in range(5):
        z = z.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(score(z).sum(), z)
        z = (z + 0.25 * EPS * gradient.sign()).detach()
        z = (x + (z - x).clamp(-EPS, EPS)).clamp(0, 1)
    return z


def uniform(x: Tensor) -> Tensor:
    u = torch.rand(x.shape, generator=noise()) * 2 - 1
    return (x + EPS * u.double()).clamp(0, 1)


def near(x: Tensor) -> Tensor:
    return (x + 0.001 * torch.randn(x.shape, generator=noise()).double()).clamp(0, 1)


# Each formula: the student in training mode, the same in eval mode, both teachers, images, labels.
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
    "labels": (Labels(), _labels),
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


def slope(loss: Tensor, net: nn.Module) -> Tensor:
    """The gradient at all of the network's weights, in one row."""
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(net.parameters()))])


def loss_and_slope(defense: Any, brief: Brief, done: float = 0.5) -> tuple[Tensor, Tensor]:
    loss = defense.loss(brief)(brief.student, brief.data, Turn(noise(), done))
    return loss.detach(), slope(loss, brief.student)


@pytest.mark.parametrize("name", FORMULAS)
def test_value_and_gradient_are_those_of_the_formula(name: str) -> None:
    defense, formula = FORMULAS[name]
    brief = toy()
    ours, our_slope = loss_and_slope(defense, brief)

    given = toy()
    student, x, y = given.student, given.data.inputs, given.data.targets
    robust, clean = given.teachers["robust"], given.teachers["clean"]
    wanted = formula(student, evaluated(student), robust, clean, x, y).mean()
    torch.testing.assert_close(ours, wanted.detach(), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(our_slope, slope(wanted, student), rtol=1e-7, atol=1e-10)
    statistics = weights_digest(dict(brief.student.named_buffers()))
    assert statistics == weights_digest(dict(student.named_buffers())), "other passes fed them"


@pytest.mark.parametrize("defense", [f[0] for f in FORMULAS.values()], ids=list(FORMULAS))
def test_a_batch_leaves_the_students_mode_and_all_of_the_teachers_alone(defense: Any) -> None:
    brief = toy()
    brief.student.get_submodule("stem_norm").eval()  # a mixed state is handed back mixed
    modes = [module.training for module in brief.student.modules()]
    before = {role: weights_digest(net.state_dict()) for role, net in brief.teachers.items()}
    loss_and_slope(defense, brief)
    assert [module.training for module in brief.student.modules()] == modes
    assert all(weight.requires_grad for weight in brief.student.parameters())
    assert all(weight.grad is None for weight in brief.student.parameters())
    for role, net in brief.teachers.items():
        assert weights_digest(net.state_dict()) == before[role]
        assert not any(module.training for module in net.modules())
        assert all(weight.grad is None for weight in net.parameters())


@pytest.mark.parametrize(
    ("one", "other"),
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
def test_every_term_teaches_the_student_something_of_its_own(one: Any, other: Any) -> None:
    first, second = loss_and_slope(one, toy())[1], loss_and_slope(other, toy())[1]
    assert float(first.norm()) > 1e-3
    assert float(second.norm()) > 1e-3
    assert float((first - second).norm()) > 1e-2 * float(first.norm())


def test_both_terms_of_mtard_teach_the_student() -> None:
    """The gradient is the weighted sum of two that differ; each weight is set to one in turn."""
    slopes = []
    for weight in (0.0, 1.0):
        brief = toy()
        objective = MTARD(pace=0.0).loss(brief)
        state = objective.state_dict()  # type: ignore[attr-defined]
        state["shares"]["clean"] = weight
        objective.load_state_dict(state)  # type: ignore[attr-defined]
        loss = objective(brief.student, brief.data, Turn(noise(), 0.5))
        slopes.append(slope(loss, brief.student))
    robust, clean = slopes
    assert min(float(robust.norm()), float(clean.norm())) > 1e-3
    half = loss_and_slope(MTARD(pace=0.0), toy())[1]
    torch.testing.assert_close(half, (robust + clean) / 2)
    assert float((robust - clean).norm()) > 1e-2 * float(robust.norm())


def test_the_target_of_trades_is_not_detached() -> None:
    ours = loss_and_slope(Trades(), toy())[1]
    brief = toy()
    student, x, y = brief.student, brief.data.inputs, brief.data.targets
    still = evaluated(student)
    target = still(x).detach()
    z = moved(x, near(x), lambda z: kl(target, still(z)))
    adversarial, plain = student(z), student(x)
    detached = slope((ce(plain, y) + 6 * kl(plain.detach(), adversarial)).mean(), student)
    assert float((ours - detached).norm()) > 1e-2 * float(ours.norm())


def test_the_inner_gradient_of_adaad_flows_through_the_teacher() -> None:
    brief = toy()
    still, robust, x = evaluated(brief.student), brief.teachers["robust"], brief.data.inputs
    through = moved(x, near(x), lambda z: kl(robust(z), still(z)))
    around = moved(x, near(x), lambda z: kl(robust(z).detach(), still(z)))
    assert not torch.equal(through, around)
    target = robust(through)
    wanted = kl(target, brief.student(through)).mean()
    torch.testing.assert_close(loss_and_slope(AdaAD(), toy())[0], wanted.detach())


@pytest.mark.parametrize("done", [0.0, 0.299])
def test_before_it_begins_iad_is_ard_at_temperature_one(done: float) -> None:
    one, other = (loss_and_slope(d, toy(), done) for d in (IAD(begin=0.3), ARD(temperature=1.0)))
    assert torch.equal(one[0], other[0])
    assert torch.equal(one[1], other[1])
    begun = loss_and_slope(IAD(begin=0.3), toy(), 0.3)
    assert float(begun[0]) > float(one[0]), "the second term adds a divergence"


def trained(defense: Any) -> str:
    return weights_digest(defense.harden(toy(epochs=2)).state_dict())


def test_a_whole_training_by_iad_that_never_begins_or_trusts_blindly_is_ards() -> None:
    """The names of the seeds are the brief's, not the method's, so the attacks draw the same."""
    ard = trained(ARD(temperature=1.0))
    assert trained(IAD(begin=1.0)) == ard
    assert trained(IAD(begin=0.0, trust=0.0)) == ard
    assert trained(IAD(begin=0.0)) != ard


def test_without_heat_the_entropy_balance_is_the_plain_balance() -> None:
    plain = trained(MTARD())
    assert trained(MTARD(balance="entropy", heat=0.0)) == plain
    assert trained(MTARD(balance="entropy", heat=0.5)) != plain


def test_without_a_radius_the_adversarial_forms_are_plain_distillation() -> None:
    def value(defense: Any) -> Tensor:
        return loss_and_slope(defense, toy(eps=0.0))[0]

    robust = Distillation("robust", temperature=1.0, alpha=1.0)
    for defense in (ARD(temperature=1.0), RSLAD(), AdaAD(), AdaAD(alpha=0.3)):
        torch.testing.assert_close(value(defense), value(robust))
    torch.testing.assert_close(value(AdversarialTraining()), value(Labels()))
    torch.testing.assert_close(value(Trades()), value(Labels()))


def test_the_weights_of_mtard_follow_the_losses_of_its_batches() -> None:
    brief = toy()
    objective = MTARD(pace=0.5).loss(brief)
    student, robust, clean = brief.student, brief.teachers["robust"], brief.teachers["clean"]
    x, y = brief.data.inputs, brief.data.targets
    weight, first = 0.5, None
    for _ in range(3):
        twin, still = copy.deepcopy(student), evaluated(student)
        z = moved(x, near(x), functools.partial(lambda still, z: ce(still(z), y), still))
        a, n = (kl(target, twin(w)).mean().item() for target, w in ((robust(z), z), (clean(x), x)))
        first = first or (a, n)
        share = (n / first[1]) / (n / first[1] + a / first[0])
        weight -= 0.5 * (weight - share)
        loss = objective(student, brief.data, Turn(noise(), 0.5))
        assert loss.item() == pytest.approx((1 - weight) * a + weight * n, rel=1e-9)
        with torch.no_grad():
            for p, g in zip(
                student.parameters(),
                torch.autograd.grad(loss, list(student.parameters())),
                strict=True,
            ):
                p -= 0.05 * g
    assert weight != pytest.approx(0.5, abs=1e-4)


def test_the_adaptive_steps_of_mtard_shrink_with_the_last_falls_of_the_rate() -> None:
    """After 85 % of training the pace is a tenth, and so is the heat."""
    moves = []
    for done in (0.84, 0.85):
        brief = toy()
        objective = MTARD(balance="entropy", pace=0.5, heat=0.5).loss(brief)
        state = objective.state_dict()  # type: ignore[attr-defined]
        state["shares"] = {"clean": 0.9, "first_robust": 1.0, "first_clean": 1.0}
        objective.load_state_dict(state)  # type: ignore[attr-defined]
        objective(brief.student, brief.data, Turn(noise(), done))
        after = objective.state_dict()  # type: ignore[attr-defined]
        heats = after["entropies"]
        moves.append((0.9 - after["shares"]["clean"], max(heats["robust"], heats["clean"]) - 1))
    assert moves[1] == pytest.approx((moves[0][0] / 10, moves[0][1] / 10))
    assert moves[0][1] == pytest.approx(0.5)


def test_defensive_distillation_learns_from_a_teacher_of_its_own_at_the_temperature(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Both losses at T = 20, with the same seedless student and another one for the teacher."""
    brief, taught, told = toy(), network("taught").eval(), {}

    def fit(net: nn.Module, data: Examples, objective: Any, *rest: Any) -> nn.Module:
        told["loss"] = objective(net, data, Turn(noise(), 0.0))
        told["slope"] = slope(told["loss"], net)
        return taught

    monkeypatch.setattr(_base.defensive_distillation, "fit", fit)
    ours, our_slope = loss_and_slope(DefensiveDistillation(temperature=20.0), brief)

    student, x, y = toy().student, brief.data.inputs, brief.data.targets
    hard = 20 * F.cross_entropy(student(x) / 20, y)
    torch.testing.assert_close(told["loss"], hard)
    torch.testing.assert_close(told["slope"], slope(hard, student))
    student = toy().student
    p = (taught(x) / 20).softmax(1).detach()
    soft = -20 * (p * (student(x) / 20).log_softmax(1)).sum(1).mean()
    torch.testing.assert_close(ours, soft.detach())
    torch.testing.assert_close(our_slope, slope(soft, student))


def test_distillation_weighs_the_labels_only_beside_the_clean_teacher() -> None:
    assert torch.equal(
        loss_and_slope(Distillation("clean"), toy())[0],
        loss_and_slope(Distillation("clean", alpha=0.9), toy())[0],
    )
    assert torch.equal(
        loss_and_slope(Distillation("robust"), toy())[0],
        loss_and_slope(Distillation("robust", alpha=1.0), toy())[0],
    )


def family_brief() -> Brief:
    """A toy brief whose student is a family, and whose teacher is another family's largest form."""
    given = toy()
    nets = [Digits().student("elastic-8-16", Seed() / n).double() for n in ("student", "teacher")]
    family, other = nets
    assert isinstance(other, ElasticResNet)
    own = other.subnet(other.space.largest).double().eval().requires_grad_(False)
    x = torch.rand(4, 1, 8, 8, generator=noise()).double()
    data = Examples(torch.arange(4), x, torch.arange(4))
    return replace(given, data=data, student=family, teachers={"own": own, "robust": own})


def test_proard_teaches_the_form_that_it_draws_by_the_loss_of_rslad() -> None:
    ours, our_slope = family_loss(ProARD(share=0.7), family_brief())
    given, drawn = family_brief(), noise()
    assert isinstance(given.student, ElasticResNet)
    given.student.active = given.student.space.draw(drawn)
    wanted = RSLAD(share=0.7).loss(given)(given.student, given.data, Turn(drawn, 0.5))
    torch.testing.assert_close(ours, wanted.detach())
    torch.testing.assert_close(our_slope, family_slope(wanted, given.student))


def test_both_terms_of_proard_teach_the_family() -> None:
    moved_only = family_loss(ProARD(share=1.0), family_brief())[1]
    plain_only = family_loss(ProARD(share=0.0), family_brief())[1]
    assert float(moved_only.norm()) > 1e-3
    assert float(plain_only.norm()) > 1e-3
    assert float((moved_only - plain_only).norm()) > 1e-2 * float(moved_only.norm())


def family_loss(defense: ProARD, brief: Brief) -> tuple[Tensor, Tensor]:
    loss = defense.loss(brief)(brief.student, brief.data, Turn(noise(), 0.5))
    return loss.detach(), family_slope(loss, brief.student)


def family_slope(loss: Tensor, net: nn.Module) -> Tensor:
    """As ``slope``, with zeros for the weights that the drawn form leaves out."""
    weights = list(net.parameters())
    found = torch.autograd.grad(loss, weights, allow_unused=True)
    return torch.cat(
        [
            torch.zeros_like(w).flatten() if g is None else g.flatten()
            for g, w in zip(found, weights, strict=True)
        ]
    )
