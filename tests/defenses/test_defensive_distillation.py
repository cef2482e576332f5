"""Defensive distillation: both of its losses at one temperature."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from reference_losses import (
    loss_and_slope,
    network,
    noise,
    slope,
    toy,
)
from torch import nn

from robustbench_kd.core.types import Examples
from robustbench_kd.defenses import defensive_distillation
from robustbench_kd.defenses.defensive_distillation import DefensiveDistillation
from robustbench_kd.training.trainer import TrainStep


def test_defensive_distillation_learns_from_a_teacher_of_its_own_at_the_temperature(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Both losses at T = 20, with a fixed network in place of the trained teacher."""
    context, teacher, seen = toy(), network("taught").eval(), {}

    def fit(net: nn.Module, data: Examples, objective: Any, *rest: Any) -> nn.Module:
        seen["loss"] = objective(net, data, TrainStep(noise(), 0.0))
        seen["slope"] = slope(seen["loss"], net)
        return teacher

    monkeypatch.setattr(defensive_distillation, "fit", fit)
    ours, our_slope = loss_and_slope(DefensiveDistillation(temperature=20.0), context)

    student, x, y = toy().student, context.data.inputs, context.data.targets
    hard = 20 * F.cross_entropy(student(x) / 20, y)
    torch.testing.assert_close(seen["loss"], hard)
    torch.testing.assert_close(seen["slope"], slope(hard, student))
    student = toy().student
    p = (teacher(x) / 20).softmax(1).detach()
    soft = -20 * (p * (student(x) / 20).log_softmax(1)).sum(1).mean()
    torch.testing.assert_close(ours, soft.detach())
    torch.testing.assert_close(our_slope, slope(soft, student))
