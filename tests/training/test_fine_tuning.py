"""Fine-tuning on shifted images."""

from __future__ import annotations

import torch
from digit_networks import images, network
from torch import Tensor, nn

from robustbench_kd.core.config import Schedule
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.types import Examples
from robustbench_kd.models.statistics import weights_digest
from robustbench_kd.ops.augmentation import random_shift
from robustbench_kd.training.fine_tuning import fine_tune
from robustbench_kd.training.objectives import label_loss
from robustbench_kd.training.trainer import TrainStep


def test_the_loss_sees_shifted_images_and_no_others() -> None:
    batches: list[Tensor] = []

    def objective(net: nn.Module, batch: Examples, step: TrainStep) -> Tensor:
        batches.append(batch.inputs)
        return label_loss(net, batch, step)

    data, once = images(), Schedule(epochs=1, batch=64)
    fine_tune(network(), data, once, Seed(), shift=0, objective=objective)
    fine_tune(network(), data, once, Seed(), shift=1, objective=objective)
    unmoved, shifted = batches
    assert {bytes(image) for image in unmoved.numpy()} == {bytes(i) for i in data.inputs.numpy()}
    noise = (Seed() / "epoch" / 0 / "noise").generator()
    assert torch.equal(random_shift(unmoved, 1, noise), shifted)
    assert not torch.equal(unmoved, shifted)


def test_a_frozen_network_is_tuned_as_a_copy() -> None:
    net = network().requires_grad_(False)
    before = weights_digest(net.state_dict())
    tuned = fine_tune(net, images(), Schedule(epochs=1), Seed(), shift=0)
    assert weights_digest(net.state_dict()) == before
    assert not any(weight.requires_grad for weight in net.parameters())
    assert all(weight.requires_grad for weight in tuned.parameters())
    assert weights_digest(tuned.state_dict()) != before
