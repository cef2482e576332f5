"""Training by DP-SGD: what clipping and noise do to the student."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from dp_networks import (
    NETS,
    data_for,
    flat_gradient,
    flat_weights,
    gradients_one_by_one,
    images,
    network,
)
from interruptions import Interrupted, MemoryProgress
from torch import nn

from robustbench_kd.core.config import Budget, Schedule
from robustbench_kd.core.errors import BadModel, BadSetting
from robustbench_kd.core.protocols import Silent, TrainingContext
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.types import Examples
from robustbench_kd.defenses.dp_sgd import DPSGD
from robustbench_kd.defenses.standard_training import StandardTraining
from robustbench_kd.models.statistics import weights_digest
from robustbench_kd.ops.privacy.dp_sgd import private_gradient
from robustbench_kd.scenarios.digits import Digits
from robustbench_kd.training.objectives import label_loss
from robustbench_kd.training.trainer import TrainStep, learning_rate_at


def context(
    net: nn.Module, data: Examples, schedule: Schedule | None = None, seed: int = 0
) -> TrainingContext:
    return TrainingContext(
        data=data,
        teachers={},
        student=net,
        budget=Budget("linf", 0.1),
        schedule=schedule or Schedule(epochs=2, batch=8),
        seed=Seed(seed),
    )


def one_step(count: int) -> Schedule:
    """A single step of plain gradient descent over all examples, at half of a rate of one."""
    return Schedule(epochs=1, batch=count, learning_rate=0.75, momentum=0.0, weight_decay=0.0)


def train(settings: DPSGD, data: Examples, schedule: Schedule, seed: int = 0) -> nn.Module:
    return settings.train(context(network(), data, schedule, seed))


def test_the_loss_has_the_private_gradient_and_the_value_of_the_plain_loss() -> None:
    net, data, settings = network(), images(6), DPSGD(noise=1.3, clip=0.5)
    objective = settings.loss(context(net, data, Schedule(epochs=1, batch=6)))
    loss = objective(net, data, TrainStep((Seed(5) / "noise").generator(), 0.5))
    parts = torch.autograd.grad(loss, list(net.parameters()))
    generator = (Seed(5) / "noise").generator()
    expected, _ = private_gradient(
        net, data.inputs, data.targets, generator, clip=0.5, noise=1.3, lot=6, chunk=16
    )
    gradient = torch.cat([part.flatten() for part in parts])
    assert torch.equal(gradient, flat_gradient(expected))  # the same operations in the same order
    plain = label_loss(net, data, TrainStep(Seed().generator(), 0.5)).detach()
    torch.testing.assert_close(loss.detach(), plain)


@pytest.mark.parametrize("name", NETS)
def test_without_noise_and_clipping_it_is_plain_training_on_labels(name: str) -> None:
    """Over two epochs of full batches, with the loop's momentum and decay."""
    data = data_for(name, 16)
    if data.targets.dim() == 2:
        data.targets.clamp_(min=0)  # all are scored: the mean of means is the mean of all
    setup = context(network(NETS[name]), data)
    private, plain = DPSGD(noise=0, clip=1e9).train(setup), StandardTraining().train(setup)
    assert float((flat_weights(plain) - flat_weights(setup.student)).norm()) > 1e-2
    torch.testing.assert_close(flat_weights(private), flat_weights(plain), rtol=1e-4, atol=1e-5)


def test_a_short_last_batch_counts_its_examples_no_more_than_others() -> None:
    """Its sum is divided by the size of a full batch."""
    net, data = network(), images(9)
    objective = DPSGD(noise=0, clip=1e9).loss(context(net, data))
    loss = objective(net, data.take(torch.arange(2)), TrainStep(Seed().generator(), 0.5))
    parts = torch.autograd.grad(loss, list(net.parameters()))
    gradients = gradients_one_by_one(net, data)[:2]
    expected = sum((gradient for _, gradient in gradients), torch.zeros(())) / 8
    torch.testing.assert_close(
        torch.cat([part.flatten() for part in parts]), expected, rtol=1e-4, atol=1e-6
    )


def test_an_outlier_moves_the_student_by_no_more_than_clipping_allows() -> None:
    """Data sets that differ in one extreme example: rate x 2 C / L apart after one step."""
    data, schedule = images(8), one_step(8)
    extreme = Examples(data.ids, data.inputs.clone(), data.targets)
    extreme.inputs[3] = 1e4 * (1 - extreme.inputs[3])

    def distance(settings: DPSGD) -> float:
        a, b = (flat_weights(train(settings, examples, schedule)) for examples in (data, extreme))
        return float((a - b).norm())

    bound = learning_rate_at(schedule, 0.5) * 2 * 0.5 / 8
    assert distance(DPSGD(clip=0.5)) <= bound * (1 + 1e-4)
    assert distance(DPSGD(clip=0.5)) > bound / 10
    assert distance(DPSGD(clip=1e9, noise=0)) > 100 * bound


@pytest.mark.parametrize("name", ["perceptron", "attention"])
def test_the_same_seed_gives_the_same_student_and_another_seed_another(name: str) -> None:
    net, data = network(NETS[name]), data_for(name, 20)
    before, state = weights_digest(net.state_dict()), torch.get_rng_state()
    first, again, other = (
        weights_digest(DPSGD().train(context(net, data, seed=seed)).state_dict())
        for seed in (1, 1, 2)
    )
    assert first == again != other
    assert weights_digest(net.state_dict()) == before
    assert torch.equal(torch.get_rng_state(), state), "it drew from the global generator"
    assert all(weight.grad is None and weight.requires_grad for weight in net.parameters())


def test_seeds_differ_in_their_noise_and_not_only_in_their_order() -> None:
    data, schedule = images(8), one_step(8)
    noised = [flat_weights(train(DPSGD(), data, schedule, seed)) for seed in (1, 2)]
    plain = [flat_weights(train(DPSGD(noise=0), data, schedule, seed)) for seed in (1, 2)]
    torch.testing.assert_close(plain[0], plain[1], rtol=1e-5, atol=1e-6)
    assert float((noised[0] - noised[1]).norm()) > 1e-2


def test_an_interrupted_run_ends_with_the_bits_of_an_undisturbed_one() -> None:
    setup = context(network(), images(20), Schedule(epochs=3, batch=8))
    progress = MemoryProgress(1, 2)
    undisturbed = weights_digest(DPSGD().train(setup).state_dict())
    with pytest.raises(Interrupted):
        DPSGD().train(replace(setup, progress=progress))
    resumed = DPSGD().train(replace(setup, progress=progress))
    assert weights_digest(resumed.state_dict()) == undisturbed


def test_frozen_weights_are_not_trained() -> None:
    net = network()
    net.get_submodule("1").requires_grad_(False)
    student = DPSGD().train(context(net, images(8), one_step(8)))
    changed = [
        not torch.equal(a, b) for a, b in zip(student.parameters(), net.parameters(), strict=True)
    ]
    assert changed == [False, False, True, True]


def test_a_student_learns_under_a_little_noise() -> None:
    data = images(600)
    schedule = Schedule(epochs=6, batch=50, learning_rate=0.5)
    student = train(DPSGD(noise=0.5), data, schedule)
    with torch.inference_mode():
        correct = student(data.inputs).argmax(1) == data.targets
    assert float(correct.float().mean()) > 0.8


class Untouched(Silent):
    """Progress of a run that must never begin."""

    def load(self, key: str) -> dict[str, Any] | None:
        raise AssertionError("training began")


@pytest.mark.parametrize(
    ("net", "message"),
    [
        (lambda: Digits().student("plain", Seed()), "'stem_norm' normalises over the batch"),
        (lambda: nn.Sequential(nn.BatchNorm2d(1, track_running_stats=False)), "over the batch"),
        (lambda: nn.Sequential(nn.InstanceNorm2d(1, track_running_stats=True)), "over the batch"),
        (lambda: nn.Sequential(nn.Flatten(), nn.Dropout(0.1), nn.Linear(64, 10)), "dropout is 0"),
    ],
    ids=["our residual network", "batch normalisation", "running statistics", "dropout"],
)
def test_a_network_without_per_example_gradients_is_refused_before_training(
    net: Callable[[], nn.Module], message: str
) -> None:
    setup = replace(context(net(), images(8)), progress=Untouched())
    with pytest.raises(BadModel, match=message):
        DPSGD().train(setup)


@pytest.mark.parametrize(
    "changes",
    [{"noise": -0.1}, {"noise": math.nan}, {"clip": 0.0}, {"clip": math.inf}, {"chunk": 0}],
)
def test_impossible_settings_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(BadSetting):
        DPSGD(**changes)
