"""Attacks of other libraries: witnesses of ours, and guests that leave nothing behind."""

from __future__ import annotations

import importlib
import random
import sys
from typing import Any

import numpy as np
import pytest
import torch
from networks import asked

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
from robustbench_kd.core.tensor_types import Mask
from robustbench_kd.core.types import Examples, Splits, Submission
from robustbench_kd.integrations import _arguments, art, torchattacks
from robustbench_kd.ops.attacks.projections import distance
from robustbench_kd.ops.statistics.paired_tests import mcnemar_exact

LINF, L2 = {"eps": 0.1, "norm": "linf"}, {"eps": 0.7, "norm": "l2"}


def tried(attack: Evasion, test: Examples, subject: Any, seed: int = 0) -> Submission:
    nothing = test.take(torch.arange(0))
    return attack.after(subject, Splits(nothing, nothing, test), None, Seed(seed))


def broken(attack: Evasion, count: int = 150) -> Mask:
    subject, test = asked(count)
    return subject.answer(tried(attack, test, subject).inputs) != test.targets


def as_strong(ours: Mask, theirs: Mask) -> bool:
    """Whether chance explains what they break and we do not (McNemar, one-sided, at 5 %)."""
    return mcnemar_exact(int((theirs & ~ours).sum()), int((ours & ~theirs).sum())) > 0.05


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
    subject, test = asked(50)
    right = subject.answer(test.inputs) == test.targets
    ours = tried(FGSM(0.1), test, subject).inputs[right]
    for theirs in (
        TorchAttacks.from_text("FGSM", "", **LINF),
        ART.from_text("FastGradientMethod", "", **LINF),
    ):
        torch.testing.assert_close(tried(theirs, test, subject).inputs[right], ours)


GUESTS = [
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


@pytest.mark.parametrize("guest", GUESTS, ids=lambda guest: guest.attack)
def test_a_guest_stays_in_its_ball_is_counted_and_leaves_everything_as_it_was(
    guest: Evasion,
) -> None:
    subject, test = asked(8)
    subject.net.zero_grad()
    kept = test.inputs.clone()
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # type: ignore[index]
    exhibit = tried(guest, test, subject)
    again = tried(guest, test, subject)
    assert torch.equal(exhibit.inputs, again.inputs), "the same seed gave another result"
    assert float(distance(exhibit.inputs, test.inputs, guest.norm).max()) <= guest.eps + 1e-6
    assert exhibit.inputs.min() >= 0
    assert exhibit.inputs.max() <= 1
    assert exhibit.inputs.dtype == torch.float32
    assert subject.passes.forward > 16
    assert (subject.passes.backward > 0) == (guest.threat.sight == "weights")
    assert torch.equal(test.inputs, kept)
    assert not any(module.training for module in subject.net.modules())
    assert all(w.grad is None and not w.requires_grad for w in subject.net.parameters())
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.array_equal(np.random.get_state()[1], states[1])  # type: ignore[index]
    assert random.getstate() == states[2]


def test_another_seed_draws_otherwise() -> None:
    subject, test = asked(20)
    for guest in (GUESTS[0], GUESTS[2], GUESTS[5]):
        one, other = tried(guest, test, subject, 1), tried(guest, test, subject, 2)
        assert not torch.equal(one.inputs, other.inputs)


def test_a_minimum_norm_attack_is_judged_at_our_radius_and_keeps_its_norms() -> None:
    subject, test = asked(20)
    exhibit = tried(TorchAttacks.from_text("DeepFool", "", **L2), test, subject)
    norm = exhibit.notes["norm"]
    assert int((norm.isfinite() & (norm > 0.7)).sum()) > 2
    assert int((norm <= 0.7).sum()) > 2
    assert float(distance(exhibit.inputs, test.inputs, "l2").max()) <= 0.7 + 1e-6


@pytest.mark.parametrize(
    "attack",
    [
        TorchAttacks.from_text("PGD", "steps=20,targeted=random", eps=0.3),
        ART.from_text("ProjectedGradientDescent", "max_iter=20,targeted=random", eps=0.3),
    ],
    ids=["torchattacks", "art"],
)
def test_a_targeted_guest_reaches_the_targets_we_name(attack: Evasion) -> None:
    subject, test = asked(30)
    exhibit = tried(attack, test, subject)
    assert exhibit.wanted is not None
    assert bool((exhibit.wanted != test.targets).all())
    assert int((subject.answer(exhibit.inputs) == exhibit.wanted).sum()) > 20


@pytest.mark.parametrize("attack", ["torchattacks:APGD:steps=3", "art:DeepFool:max_iter=2"])
def test_a_guest_without_a_targeted_form_says_so(attack: str) -> None:
    name, inner, text = split_name(attack)
    guest = find("attacks", name).load().from_text(inner, text + ",targeted=3", **LINF)
    subject, test = asked(4)
    with pytest.raises(BadSetting, match="has no targeted form"):
        tried(guest, test, subject)


def test_settings_are_split_between_us_and_the_library_and_survive_a_record() -> None:
    guest = TorchAttacks.from_text("MIFGSM", "steps=20,eps=8/255,decay=0.9,chunk=50", **L2 | LINF)
    assert (guest.eps, guest.norm, guest.chunk) == (8 / 255, "linf", 50)
    assert guest.settings == "steps=20,decay=0.9"
    assert TorchAttacks(**options.written(guest)) == guest


def test_values_take_the_kind_of_the_default() -> None:
    known = torchattacks.classes()
    given = _arguments.read(known["UPGD"], "steps=7,alpha=2/255,random_start=true,loss=mse")
    assert given == {"steps": 7, "alpha": 2 / 255, "random_start": True, "loss": "mse"}
    assert _arguments.read(known["CW"], "c=0.5") == {"c": 0.5}  # its default is the integer 1


def test_a_step_that_was_not_given_keeps_its_ratio_to_the_radius() -> None:
    values = _arguments.filled(torchattacks.classes()["PGD"], {"steps": 3}, 0.4)
    assert values == {"eps": 0.4, "alpha": pytest.approx(0.1), "steps": 3}
    values = _arguments.filled(art.classes()["ProjectedGradientDescent"], {"eps_step": 0.02}, 0.4)
    assert values == {"eps": 0.4, "eps_step": 0.02}


@pytest.mark.parametrize(
    ("attack", "error", "says"),
    [
        ("torchattacks:MIFSGM", UnknownName, r"no attack of torchattacks named.*mean 'MIFGSM'"),
        ("art:HopSkipJmp", UnknownName, r"no attack of ART named.*mean 'HopSkipJump'"),
        ("torchattacks:PGD:stepz=3", BadSetting, r"PGD has no setting 'stepz'.*mean 'steps'"),
        ("art:DeepFool:steps=3", BadSetting, r"Its settings: max_iter, epsilon, nb_grads"),
        ("torchattacks:PGD:steps=few", BadSetting, r"PGD:steps=few"),
        ("torchattacks:PGD:norm=l2", BadSetting, r"moves within linf, not l2; add norm=linf"),
        ("torchattacks:PGDL2", BadSetting, r"moves within l2, not linf; add norm=l2"),
        ("torchattacks", UnknownName, r"Known: APGD, APGDT, AutoAttack"),
    ],
)
def test_a_wrong_name_or_argument_is_refused_before_anything_is_spent(
    attack: str, error: type[Exception], says: str
) -> None:
    name, inner, text = split_name(attack)
    with pytest.raises(error, match=says):
        find("attacks", name).load().from_text(inner, text, **LINF)


def test_what_a_library_refuses_is_said_in_one_sentence() -> None:
    guest = ART.from_text("SimBA", "batch_size=3", **LINF)
    subject, test = asked(2)
    with pytest.raises(BadSetting, match=r"SimBA of ART refuses its settings: .*batch_size"):
        tried(guest, test, subject)
    with pytest.raises(BadSetting, match="only images of three channels"):
        tried(TorchAttacks.from_text("TIFGSM", "", **LINF), test, subject)


@pytest.mark.parametrize("library", ["torchattacks", "art"])
def test_a_missing_library_names_the_extra(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bridge = f"robustbench_kd.integrations.{library}"
    for module in [name for name in sys.modules if name.split(".")[0] == library]:
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(sys.modules, bridge)
    with pytest.raises(BrokenPlugin, match=r"pip install 'robustbench-kd\[bridges\]'"):
        importlib.import_module(bridge)


def test_attacks_say_what_they_look_at() -> None:
    assert {art.sees(name) for name in ("HopSkipJump", "BoundaryAttack")} == {"answers"}
    assert {art.sees(name) for name in ("SquareAttack", "ZooAttack")} == {"scores"}
    assert {art.sees(name) for name in ("DeepFool", "AutoAttack")} == {"weights"}
    assert torchattacks.sees("Square") == "scores"
    assert torchattacks.sees("PGD") == "weights"
