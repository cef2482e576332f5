"""Attacks of other libraries: as strong as ours, and without effects on anything else."""

from __future__ import annotations

import importlib
import random
import sys
from typing import Any

import numpy as np
import pytest
import torch
from networks import robust_digits

from robustbench_kd.attacks.evasion._base import Evasion
from robustbench_kd.attacks.evasion.apgd_ce import APGDCE
from robustbench_kd.attacks.evasion.art import ART
from robustbench_kd.attacks.evasion.fgsm import FGSM
from robustbench_kd.attacks.evasion.pgd import PGD
from robustbench_kd.attacks.evasion.torchattacks import TorchAttacks
from robustbench_kd.core import options
from robustbench_kd.core.errors import BadSetting, BrokenPlugin, UnknownName
from robustbench_kd.core.registry import find, split_name
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.submissions import AdversarialInputs
from robustbench_kd.core.tensor_types import Mask
from robustbench_kd.core.types import Examples, Splits
from robustbench_kd.integrations import _arguments, art, torchattacks
from robustbench_kd.models.classifier import Classifier
from robustbench_kd.ops.attacks.projections import distance
from robustbench_kd.ops.statistics.paired_tests import mcnemar_exact
from robustbench_kd.scenarios.digits import Digits

LINF: dict[str, Any] = {"eps": 0.1, "norm": "linf"}
L2: dict[str, Any] = {"eps": 0.7, "norm": "l2"}


def model_and_test(count: int) -> tuple[Classifier, Examples]:
    """A robust digits network with its passes at zero, and test images."""
    test = Digits().splits(Seed(), whole=False).test.take(torch.arange(count))
    return Digits().target_model(robust_digits()), test


def run(attack: Evasion, test: Examples, model: Any, seed: int = 0) -> AdversarialInputs:
    empty = test.take(torch.arange(0))
    return attack.attack(model, Splits(empty, empty, test), None, Seed(seed))


def broken(attack: Evasion, count: int = 150) -> Mask:
    model, test = model_and_test(count)
    return model.answer(run(attack, test, model).inputs) != test.targets


def as_strong(ours: Mask, theirs: Mask) -> bool:
    """Whether chance explains what they break and we do not (McNemar, one-sided, at 0.5 %).

    Five comparisons, on networks that differ a little from processor to processor.
    """
    return mcnemar_exact(int((theirs & ~ours).sum()), int((ours & ~theirs).sum())) > 0.005


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (PGD(**LINF, steps=20), TorchAttacks.from_text("PGD", "steps=20,alpha=0.0125", **LINF)),
        (PGD(**L2, steps=20), TorchAttacks.from_text("PGDL2", "steps=20,alpha=0.0875", **L2)),
        (
            PGD(**LINF, steps=20),
            ART.from_text("ProjectedGradientDescent", "max_iter=20,eps_step=0.0125", **LINF),
        ),
        (APGDCE(**LINF, steps=20), TorchAttacks.from_text("APGD", "steps=20", **LINF)),
        (APGDCE(**L2, steps=20), TorchAttacks.from_text("APGD", "steps=20", **L2)),
    ],
    ids=["pgd-linf", "pgd-l2", "pgd-art", "apgd-linf", "apgd-l2"],
)
def test_our_attack_is_as_strong_as_theirs_on_the_same_images(
    ours: Evasion, theirs: Evasion
) -> None:
    here, there = broken(ours), broken(theirs)
    assert 10 < int(there.sum()) < 140
    assert as_strong(here, there)


def test_one_gradient_step_is_the_same_in_all_three() -> None:
    model, test = model_and_test(50)
    right = model.answer(test.inputs) == test.targets
    ours = run(FGSM(0.1), test, model).inputs[right]
    for theirs in (
        TorchAttacks.from_text("FGSM", "", **LINF),
        ART.from_text("FastGradientMethod", "", **LINF),
    ):
        torch.testing.assert_close(run(theirs, test, model).inputs[right], ours)


EXTERNAL = [
    TorchAttacks.from_text("PGD", "steps=3", **LINF),
    TorchAttacks.from_text("APGDT", "steps=3", **LINF),
    TorchAttacks.from_text("Square", "n_queries=20", **L2),
    TorchAttacks.from_text("DeepFool", "steps=5", **L2),
    TorchAttacks.from_text("Pixle", "restarts=2,max_iterations=2", **LINF),
    ART.from_text("ProjectedGradientDescent", "max_iter=3,num_random_init=1", **L2),
    ART.from_text("HopSkipJump", "max_iter=1,init_eval=5,max_eval=20", **L2),
    ART.from_text("BoundaryAttack", "max_iter=2,num_trial=2,sample_size=2", **L2),
    ART.from_text("CarliniL2Method", "max_iter=3,binary_search_steps=2,batch_size=8", **L2),
]


@pytest.mark.parametrize("attack", EXTERNAL, ids=lambda attack: attack.class_name)
def test_an_attack_stays_in_its_ball_is_counted_and_leaves_everything_as_it_was(
    attack: Evasion,
) -> None:
    model, test = model_and_test(8)
    model.net.zero_grad()
    before = test.inputs.clone()
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # type: ignore[index]
    submission = run(attack, test, model)
    again = run(attack, test, model)
    assert torch.equal(submission.inputs, again.inputs), "the same seed gave another result"
    assert float(distance(submission.inputs, test.inputs, attack.norm).max()) <= attack.eps + 1e-6
    assert submission.inputs.min() >= 0
    assert submission.inputs.max() <= 1
    assert submission.inputs.dtype == torch.float32
    assert model.passes.forward > 16
    assert (model.passes.backward > 0) == (attack.threat.knowledge == "white_box")
    assert torch.equal(test.inputs, before)
    assert not any(module.training for module in model.net.modules())
    assert all(w.grad is None and not w.requires_grad for w in model.net.parameters())
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.array_equal(np.random.get_state()[1], states[1])  # type: ignore[index]
    assert random.getstate() == states[2]


def test_another_seed_gives_other_inputs() -> None:
    model, test = model_and_test(20)
    for attack in (EXTERNAL[0], EXTERNAL[2], EXTERNAL[5]):
        first, second = run(attack, test, model, 1), run(attack, test, model, 2)
        assert not torch.equal(first.inputs, second.inputs)


def test_a_minimum_norm_attack_is_scored_at_our_radius_and_its_norms_are_recorded() -> None:
    model, test = model_and_test(60)
    submission = run(TorchAttacks.from_text("DeepFool", "", **L2), test, model)
    norm = submission.metadata["norm"]
    assert int((norm.isfinite() & (norm > 0.7)).sum()) > 5
    assert int((norm <= 0.7).sum()) > 5
    assert float(distance(submission.inputs, test.inputs, "l2").max()) <= 0.7 + 1e-6


@pytest.mark.parametrize(
    "attack",
    [
        TorchAttacks.from_text("PGD", "steps=20,targeted=random", eps=0.3),
        ART.from_text("ProjectedGradientDescent", "max_iter=20,targeted=random", eps=0.3),
    ],
    ids=["torchattacks", "art"],
)
def test_a_targeted_attack_reaches_the_targets_we_name(attack: Evasion) -> None:
    model, test = model_and_test(30)
    submission = run(attack, test, model)
    assert submission.targets is not None
    assert bool((submission.targets != test.targets).all())
    assert int((model.answer(submission.inputs) == submission.targets).sum()) > 20


@pytest.mark.parametrize("attack", ["torchattacks:APGD:steps=3", "art:DeepFool:max_iter=2"])
def test_an_attack_without_a_targeted_form_is_refused(attack: str) -> None:
    name, inner, text = split_name(attack)
    targeted = find("attacks", name).load().from_text(inner, text + ",targeted=3", **LINF)
    model, test = model_and_test(4)
    with pytest.raises(BadSetting, match="has no targeted form"):
        run(targeted, test, model)


def test_settings_are_split_between_us_and_the_library_and_survive_a_record() -> None:
    attack = TorchAttacks.from_text("MIFGSM", "steps=20,eps=8/255,decay=0.9,chunk=50", **L2 | LINF)
    assert (attack.eps, attack.norm, attack.chunk) == (8 / 255, "linf", 50)
    assert attack.settings == "steps=20,decay=0.9"
    assert TorchAttacks(**options.written(attack)) == attack


def test_values_have_the_type_of_the_default() -> None:
    classes = torchattacks.classes()
    typed = "steps=7,alpha=2/255,random_start=true,loss=mse"
    values = {"steps": 7, "alpha": 2 / 255, "random_start": True, "loss": "mse"}
    assert _arguments.parse_arguments(classes["UPGD"], typed) == values
    # The default of c is the integer 1.
    assert _arguments.parse_arguments(classes["CW"], "c=0.5") == {"c": 0.5}


def test_a_step_that_was_not_typed_keeps_its_ratio_to_the_radius() -> None:
    values = _arguments.with_our_settings(torchattacks.classes()["PGD"], {"steps": 3}, 0.4)
    assert values == {"eps": 0.4, "alpha": pytest.approx(0.1), "steps": 3}
    values = _arguments.with_our_settings(
        art.classes()["ProjectedGradientDescent"], {"eps_step": 0.02}, 0.4
    )
    assert values == {"eps": 0.4, "eps_step": 0.02}


@pytest.mark.parametrize(
    ("attack", "error", "message"),
    [
        ("torchattacks:MIFSGM", UnknownName, r"no attack of torchattacks named.*mean 'MIFGSM'"),
        ("art:HopSkipJmp", UnknownName, r"no attack of ART named.*mean 'HopSkipJump'"),
        ("torchattacks:PGD:stepz=3", BadSetting, r"PGD has no setting 'stepz'.*mean 'steps'"),
        ("art:DeepFool:steps=3", BadSetting, r"Its settings: max_iter, epsilon, nb_grads"),
        ("torchattacks:PGD:steps=few", BadSetting, r"PGD:steps=few"),
        ("torchattacks:PGD:norm=l2", BadSetting, r"perturbs within linf, not l2; add norm=linf"),
        ("torchattacks:PGDL2", BadSetting, r"perturbs within l2, not linf; add norm=l2"),
        ("torchattacks", UnknownName, r"Known: APGD, APGDT, AutoAttack"),
    ],
)
def test_a_wrong_name_or_argument_is_refused_before_anything_is_spent(
    attack: str, error: type[Exception], message: str
) -> None:
    name, inner, text = split_name(attack)
    with pytest.raises(error, match=message):
        find("attacks", name).load().from_text(inner, text, **LINF)


def test_what_a_library_refuses_is_said_in_one_sentence() -> None:
    attack = ART.from_text("SimBA", "batch_size=3", **LINF)
    model, test = model_and_test(2)
    with pytest.raises(BadSetting, match=r"SimBA of ART refuses its settings: .*batch_size"):
        run(attack, test, model)
    with pytest.raises(BadSetting, match="only images of three channels"):
        run(TorchAttacks.from_text("TIFGSM", "", **LINF), test, model)


@pytest.mark.parametrize("library", ["torchattacks", "art"])
def test_a_missing_library_names_the_extra(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = f"robustbench_kd.integrations.{library}"
    for name in [name for name in sys.modules if name.split(".")[0] == library]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, module)
    with pytest.raises(BrokenPlugin, match=r"pip install 'robustbench-kd\[bridges\]'"):
        importlib.import_module(module)


def test_attacks_state_what_they_know_of_the_model() -> None:
    assert {art.knowledge(name) for name in ("HopSkipJump", "BoundaryAttack")} == {"decision_based"}
    assert {art.knowledge(name) for name in ("SquareAttack", "ZooAttack")} == {"score_based"}
    assert {art.knowledge(name) for name in ("DeepFool", "AutoAttack")} == {"white_box"}
    assert torchattacks.knowledge("Square") == "score_based"
    assert torchattacks.knowledge("PGD") == "white_box"


@pytest.mark.parametrize(("perturbation", "changed"), [("pattern", 4), ("single", 1)])
def test_the_backdoor_trigger_is_near_the_lower_right_corner(
    perturbation: art.Perturbation, changed: int
) -> None:
    x = torch.full((2, 1, 8, 8), 0.25)
    z = art.add_backdoor_trigger(x, perturbation, 2)
    rows, columns = (z != x)[0, 0].nonzero().T
    assert len(rows) == changed
    assert min(*rows.tolist(), *columns.tolist(), 8) >= 4
    assert torch.equal(z[0], z[1])
    assert len(art.add_backdoor_trigger(x[:0], perturbation, 2)) == 0
