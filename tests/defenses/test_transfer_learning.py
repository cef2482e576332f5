"""Transfer learning: the last layer is trained anew, on new labels, and nothing else is."""

from __future__ import annotations

import torch
from small_attacks import digits
from torch import nn

from robustbench_kd.core.config import Budget, Schedule
from robustbench_kd.core.protocols import TrainingContext
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.types import Examples
from robustbench_kd.defenses.transfer_learning import TransferLearning
from robustbench_kd.scenarios.digits import Digits

DATA = digits(200, 0).train


def network(seed: int) -> nn.Module:
    return Digits().student("resnet-4-8", Seed(seed)).eval()


def test_transfer_trains_the_head_of_a_copy_and_nothing_else() -> None:
    teacher, data = network(1).requires_grad_(False), DATA
    kept = {key: value.clone() for key, value in teacher.state_dict().items()}
    student = TransferLearning().train(
        TrainingContext(
            data=data,
            teachers={"clean": teacher},
            student=network(2),
            budget=Budget("linf", 0.1),
            schedule=Schedule(epochs=2, batch=64),
            seed=Seed(),
        )
    )
    for key, value in student.state_dict().items():
        assert torch.equal(teacher.state_dict()[key], kept[key])
        assert torch.equal(value, kept[key]) == (not key.startswith("head."))
    assert all(weight.requires_grad for weight in student.parameters())
    assert not any(module.training for module in student.modules())


def test_transfer_learns_new_labels_of_known_images() -> None:
    """A new head on old features answers by the new labels: here, all of them are sevens."""
    data = DATA
    sevens = Examples(data.ids, data.inputs, torch.full_like(data.targets, 7))
    student = TransferLearning().train(
        TrainingContext(
            data=sevens,
            teachers={"clean": network(1).requires_grad_(False)},
            student=network(2),
            budget=Budget("linf", 0.1),
            schedule=Schedule(epochs=3, batch=64),
            seed=Seed(),
        )
    )
    with torch.no_grad():
        assert set(student(data.inputs).argmax(1).tolist()) == {7}
