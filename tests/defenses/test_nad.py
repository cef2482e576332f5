"""Neural attention distillation against its formula, and its teacher."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from digit_networks import first_step, gradient, images, network, repair_context
from torch import Tensor, nn

from robustbench_kd.core.config import Schedule
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.types import Examples
from robustbench_kd.defenses.fine_tuning import FineTuning
from robustbench_kd.defenses.nad import NAD
from robustbench_kd.models.feature_extraction import stage_activations
from robustbench_kd.models.statistics import weights_digest
from robustbench_kd.training.fine_tuning import fine_tune


def test_the_loss_is_the_formula_written_once_more() -> None:
    student, teacher, batch = network("resnet-4-8-8"), network("resnet-4-8-8x2"), images()
    second = copy.deepcopy(student)
    loss = NAD(early=3.0, middle=5.0, late=7.0).loss(teacher.eval())(student, batch, first_step())
    x = batch.inputs
    expected = F.cross_entropy(second(x), batch.targets)
    for stage, beta in (("stage1", 3), ("stage2", 5), ("stage3", 7)):
        a, b = (
            stage_activations(net, x)[1][stage].square().sum(1).flatten(1)
            for net in (second, teacher)
        )
        expected = expected + beta * F.mse_loss(F.normalize(a, dim=1), F.normalize(b, dim=1))
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(
        gradient(loss, student), gradient(expected, second), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("term", ["early", "middle", "late"])
def test_each_attention_term_has_a_gradient_of_its_own(term: str) -> None:
    none: dict[str, Any] = {"early": 0.0, "middle": 0.0, "late": 0.0}
    teacher = network("resnet-4-8-8x2").eval()

    def slope(**betas: Any) -> Tensor:
        student = network("resnet-4-8-8")
        loss = NAD(**{**none, **betas}).loss(teacher)(student, images(), first_step())
        return gradient(loss, student)

    of_labels = slope()
    assert float(of_labels.norm()) > 1e-3
    of_term = slope(**{term: 1e4}) - of_labels
    assert float(of_term.norm()) > 1e-2 * float(of_labels.norm())


def test_no_gradient_reaches_the_teacher() -> None:
    teacher = network().eval()
    NAD().loss(teacher)(network("resnet-6-8"), images(), first_step()).backward()
    assert all(weight.grad is None for weight in teacher.parameters())


def test_the_last_weight_belongs_to_the_last_stage_of_any_network() -> None:
    teacher = network("resnet-4-8x2").eval()

    def value(**betas: Any) -> float:
        loss = NAD(**betas).loss(teacher)(network("resnet-4-8"), images(), first_step())
        return float(loss.detach())

    assert value(early=0.0) == value(early=1e5), "two stages: the first weight is not used"
    assert value(middle=0.0) < value(middle=1e5)
    assert value(late=0.0) < value(late=1e5)


def test_the_teacher_is_fine_tuned_from_the_given_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[nn.Module, Schedule, Seed, Any]] = []

    def spy(net: nn.Module, data: Examples, schedule: Schedule, seed: Seed, **rest: Any) -> Any:
        calls.append((net, schedule, seed, rest.get("objective")))
        return fine_tune(net, data, schedule, seed, **rest)

    monkeypatch.setattr("robustbench_kd.defenses.nad.fine_tune", spy)
    given = network()
    NAD(teaching=2, epochs=1).train(repair_context(given))
    teacher, student = calls
    assert teacher[0] is student[0] is given
    assert (teacher[1].epochs, student[1].epochs) == (2, 1)
    assert teacher[2] != student[2]
    assert teacher[3] is None, "by labels alone"


def test_without_attention_it_is_fine_tuning_bit_for_bit() -> None:
    """Both give the student the same seed, so they see the same batches and the same shifts."""
    net = network()
    nad = NAD(early=0.0, middle=0.0, late=0.0, epochs=2, teaching=1).train(repair_context(net))
    tuned = FineTuning(epochs=2).train(repair_context(net))
    assert weights_digest(nad.state_dict()) == weights_digest(tuned.state_dict())
