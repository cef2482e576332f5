"""Swing distillation: temperatures by token, noise on private ones, and what trains the student."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest
import torch

pytest.importorskip("transformers")

from small_text import small_text
from torch import nn

from robustbench_kd.core.config import Budget, Schedule
from robustbench_kd.core.protocols import TrainingContext
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.types import Examples
from robustbench_kd.defenses.swing import Swing
from robustbench_kd.ops.losses import distillation
from robustbench_kd.ops.privacy.swing import soft_targets, swing_loss, token_temperatures
from robustbench_kd.training.trainer import Objective, TrainStep

SECRET = 300


class KnownSecret(Swing):
    """Swing, with one token that is private wherever it occurs."""

    def sensitivity(self, context: TrainingContext) -> torch.Tensor:
        return (context.data.targets == SECRET).float()


def known_secret_loss(folder: Path, alpha: float) -> tuple[Objective, nn.Module, Examples]:
    """The loss on rows whose private tokens are all one, a student, and the rows."""
    scenario = small_text(folder)
    rows = scenario.splits(Seed(), whole=True).test.take(torch.arange(4))
    targets = rows.targets.clone()
    targets[:, 3] = SECRET
    rows = dataclasses.replace(rows, targets=targets)
    teacher, student = scenario.student("plain", Seed()), scenario.student("plain", Seed())
    for weight in teacher.parameters():
        weight.data.mul_(3)
    context = TrainingContext(
        rows,
        {"clean": teacher},
        student,
        Budget("linf", 0),
        Schedule(1),
        Seed(),
        detokenize=scenario.detokenize,
    )
    return KnownSecret(alpha=alpha).loss(context), student, rows


def first_step() -> TrainStep:
    return TrainStep(Seed().generator(), 0.0)


@pytest.mark.parametrize("alpha", [1.0, 0.0], ids=["soft", "hard"])
def test_both_terms_train_the_student(alpha: float, tmp_path: Path) -> None:
    loss, student, rows = known_secret_loss(tmp_path, alpha)
    value = loss(student, rows, first_step())
    gradient = torch.autograd.grad(value, next(iter(student.parameters())))[0]
    assert float(gradient.abs().sum()) > 0


def test_the_labels_of_private_tokens_are_not_used(tmp_path: Path) -> None:
    """With labels alone, what stands at a private position changes nothing."""
    loss, student, rows = known_secret_loss(tmp_path, 0.0)
    private = rows.targets == SECRET
    assert bool(private.any())
    other = dataclasses.replace(rows, targets=rows.targets.masked_fill(private, SECRET + 1))
    assert torch.equal(loss(student, rows, first_step()), loss(student, other, first_step()))


def test_without_private_tokens_it_is_distillation() -> None:
    noise = Seed().generator()
    student, teacher = torch.randn(6, 9, generator=noise), torch.randn(6, 9, generator=noise)
    p = torch.zeros(6)
    target = soft_targets(teacher, token_temperatures(p, 2.0, 20.0), p, 0.5, noise)
    expected = distillation(student, teacher, 2.0)
    torch.testing.assert_close(swing_loss(student, target, 2.0, 4.0), expected)


def test_a_private_token_is_distilled_at_the_peak_temperature() -> None:
    teacher = torch.tensor([[8.0, 0.0, 0.0], [8.0, 0.0, 0.0]])
    p = torch.tensor([0.0, 1.0])
    temperatures = token_temperatures(p, 2.0, 20.0)
    target = soft_targets(teacher, temperatures, p, 0.0, Seed().generator())
    assert target[:, 0].tolist() == pytest.approx(
        [math.exp(4) / (math.exp(4) + 2), math.exp(0.4) / (math.exp(0.4) + 2)]
    )


def test_noise_is_added_to_private_tokens_alone_and_leaves_probabilities() -> None:
    p = torch.cat([torch.zeros(100), torch.ones(100)])
    teacher, temperatures = torch.zeros(200, 50), torch.full((200,), 2.0)
    target = soft_targets(teacher, temperatures, p, 0.02, Seed().generator())
    torch.testing.assert_close(target[:100], torch.full((100, 50), 0.02))
    assert float(target[100:].std()) > 0.01
    torch.testing.assert_close(target.sum(1), torch.ones(200))
    assert float(target.min()) >= 0


def test_noise_that_leaves_no_probability_gives_uniform_targets() -> None:
    ones = torch.ones(50)
    target = soft_targets(torch.zeros(50, 2), ones, ones, 50.0, Seed().generator())
    torch.testing.assert_close(target.sum(1), ones)
