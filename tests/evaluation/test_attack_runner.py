"""One attack on one model: what it gets, what is stored, and what it is asked again for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from small_attacks import digits
from torch import Tensor, nn

from robustbench_kd.attacks.backdoor.badnets import BadNets
from robustbench_kd.attacks.clean import Clean
from robustbench_kd.attacks.evasion.fgsm import FGSM
from robustbench_kd.core.config import Budget, ThreatModel
from robustbench_kd.core.errors import BadModel, BadRecord
from robustbench_kd.core.protocols import WhiteBoxModel
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.submissions import AdversarialInputs
from robustbench_kd.core.types import PoisonedData, Splits
from robustbench_kd.evaluation.attack_runner import AttackRunner, summarised
from robustbench_kd.models.statistics import weights_digest
from robustbench_kd.scenarios.digits import Digits

COUNT = 20


@dataclass(frozen=True)
class Meddling:
    """Makes all it is given say class 0: the network, the clean images and their labels."""

    name: ClassVar[str] = "meddling"
    source: ClassVar[str] = "this test"
    requires: ClassVar[type] = WhiteBoxModel
    threat: ClassVar[ThreatModel] = ThreatModel(
        "evasion", "test_data", "white_box", Budget("linf", 0.0)
    )

    def poison(self, data: Splits, seed: Seed) -> PoisonedData[None]:
        data.test.targets.zero_()
        return PoisonedData(data, None)

    def attack(self, model: Any, data: Splits, state: None, seed: Seed) -> AdversarialInputs:
        data.test.targets.zero_()
        data.test.inputs.fill_(0.5)
        with torch.no_grad():
            for weight in model.net.parameters():
                weight.zero_()
        model.net.register_forward_hook(lambda *_: torch.eye(10)[:1].expand(len(_[2]), -1))
        model.passes.forward = 12
        return AdversarialInputs(data.test.ids, data.test.inputs.clone())


def network() -> nn.Module:
    return Digits().student("resnet-4", Seed()).eval()


def runner(**changes: Any) -> AttackRunner:
    data = digits(0, COUNT)
    empty = data.test.take(torch.arange(0))
    return AttackRunner(Digits(), Splits(empty, empty, data.test), 0, **changes)


def answers(net: nn.Module, inputs: Tensor) -> Tensor:
    return Digits().target_model(net).answer(inputs)


def files(cache: Path) -> list[Path]:
    return [path for path in cache.rglob("*") if path.is_file()]


def test_an_attack_gets_copies_so_that_nothing_it_does_to_them_reaches_the_scorer() -> None:
    net, place = network(), runner()
    test, weights = digits(0, COUNT).test, weights_digest(net.state_dict())
    outcome = place.run("meddling", Meddling(), net, weights)
    assert weights_digest(net.state_dict()) == weights
    assert torch.equal(place.data.test.inputs, test.inputs)
    assert torch.equal(place.data.test.targets, test.targets)
    expected = answers(net, test.inputs) == test.targets  # over its budget: scored as it was
    assert torch.equal(outcome.scores.columns["correct"], expected)
    assert not bool(expected.all())


def test_the_passes_are_the_attacks_and_not_the_scorers() -> None:
    net = network()
    assert runner().run("clean", Clean(), net, "w").passes == {"forward": 0, "backward": 0}
    correct = int(
        (answers(net, digits(0, COUNT).test.inputs) == digits(0, COUNT).test.targets).sum()
    )
    passes = runner().run("fgsm", FGSM(), net, "w").passes
    assert passes["backward"] >= correct
    assert passes["forward"] <= 3 * COUNT


def test_a_stored_outcome_is_taken_for_the_same_question_and_no_other(own_cache: Path) -> None:
    net = network()
    first = runner().run("fgsm", FGSM(), net, "w")
    assert len(files(own_cache)) == 1
    dead = nn.Identity()  # which answers nothing
    again = runner().run("fgsm", FGSM(), dead, "w")
    assert torch.equal(again.scores.columns["correct"], first.scores.columns["correct"])
    assert again.scores.codes is not None
    assert first.scores.codes is not None
    assert torch.equal(again.scores.codes, first.scores.codes)
    assert (again.passes, again.metadata) == (first.passes, first.metadata)
    assert again.scores.warnings == first.scores.warnings
    poisoned: Any = replace(runner(), poison="a key", states={"fgsm": None})
    others: list[tuple[AttackRunner, FGSM, str, str | None]] = [
        (runner(), FGSM(eps=0.2), "w", None),
        (runner(), FGSM(), "other weights", None),
        (runner(), FGSM(), "w", "other answers"),
        (replace(runner(), seed=1), FGSM(), "w", None),
        (poisoned, FGSM(), "w", None),
        (replace(runner(), data=digits(0, COUNT - 1)), FGSM(), "w", None),
    ]
    for place, attack, weights, known in others:
        with pytest.raises(BadModel, match="tensor of shape"):
            place.run("fgsm", attack, dead, weights, known)
    with pytest.raises(BadModel, match="tensor of shape"):
        runner(fresh=True).run("fgsm", FGSM(), dead, "w")


def test_a_damaged_outcome_is_refused_by_name(own_cache: Path) -> None:
    runner().run("fgsm", FGSM(), network(), "w")
    (path,) = files(own_cache)
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(bytes(raw))
    with pytest.raises(BadRecord, match="does not match its own digest; remove it"):
        runner().run("fgsm", FGSM(), network(), "w")


def test_triggered_inputs_are_made_once_and_shown_to_every_model() -> None:
    """Against the first model that is asked: the student."""
    attack, data = BadNets(size=2), digits(40, COUNT)
    state = attack.poison(data, Seed()).attack_state
    place = runner(poison="a key", states={"badnets": state})
    student, other = network(), Digits().student("resnet-4", Seed(1)).eval()
    submission, _ = place.submit("badnets", attack, student)
    again, passes = place.submit("badnets", attack, other)
    assert again is submission
    assert passes == {}
    place.shared.clear()
    assert place.submit("badnets", attack, student)[0] is not submission


def test_a_network_that_cannot_be_copied_is_refused_in_a_sentence() -> None:
    class Held(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.ones(2, requires_grad=True) * 2  # no leaf

        def forward(self, x: Tensor) -> Tensor:
            return x.flatten(1)[:, :10]

    with pytest.raises(BadModel, match=r"cannot be copied.*it must survive copy\.deepcopy"):
        runner().run("fgsm", FGSM(), Held(), "w")


def test_metadata_are_summed_up_flags_by_counts_and_amounts_by_their_median() -> None:
    summary = summarised(
        {
            "flag": torch.tensor([True, False, True]),
            "kind": torch.tensor([3, 5, 5]),
            "norm": torch.tensor([0.25, torch.nan, 0.5, 0.75]),
            "missed": torch.tensor([torch.inf, torch.inf, 1.0]),
            "steps": torch.arange(33),
        }
    )
    assert summary == {
        "counts_flag": {"0": 1, "1": 2},
        "counts_kind": {"3": 1, "5": 2},
        "median_norm": 0.5,
        "median_missed": None,
        "median_steps": 16.0,
    }
