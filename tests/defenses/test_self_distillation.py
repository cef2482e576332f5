"""Self-distillation: plain distillation with a student of the teacher's network."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from digit_networks import first_step, gradient, images, network, repair_context
from torch import Tensor

from robustbench_kd.core.errors import BadSetting
from robustbench_kd.defenses.distillation import Distillation
from robustbench_kd.defenses.self_distillation import SelfDistillation


def loss_and_gradient(defense: Any) -> tuple[Tensor, Tensor]:
    teacher = network("resnet-4-8x2").eval().requires_grad_(False)
    context = repair_context(network(), data=images(), teachers={"clean": teacher}, trusted=None)
    student = network()
    loss = defense.loss(context)(student, images(), first_step())
    return loss.detach(), gradient(loss, student)


def test_it_is_distillation_with_a_student_of_the_teachers_network() -> None:
    assert SelfDistillation.net == "teacher"
    ours, plain = loss_and_gradient(SelfDistillation()), loss_and_gradient(Distillation("clean"))
    assert torch.equal(ours[0], plain[0])
    assert torch.equal(ours[1], plain[1])


def test_labels_and_teacher_both_train_the_student() -> None:
    of_labels, of_teacher = (loss_and_gradient(SelfDistillation(alpha=a))[1] for a in (0.0, 1.0))
    assert min(float(of_labels.norm()), float(of_teacher.norm())) > 1e-3
    assert float((of_labels - of_teacher).norm()) > 1e-2 * float(of_labels.norm())


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(BadSetting):
        SelfDistillation(alpha=1.5)
