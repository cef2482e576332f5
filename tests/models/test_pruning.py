"""Pruned channels: what they answer, and that training leaves them pruned."""

from __future__ import annotations

import copy

import pytest
import torch
from digit_networks import images, network
from torch import nn

from robustbench_kd.core.config import Schedule
from robustbench_kd.core.errors import BadModel
from robustbench_kd.core.seed import Seed
from robustbench_kd.models.feature_extraction import stage_activations
from robustbench_kd.models.pruning import mean_activations, prune_channels, pruned_channels
from robustbench_kd.models.statistics import weights_digest
from robustbench_kd.scenarios.digits import Digits
from robustbench_kd.training.fine_tuning import fine_tune


def test_the_mean_activation_of_channels_does_not_depend_on_the_chunks() -> None:
    net, x = network().eval(), images().inputs
    expected = stage_activations(net, x)[1]["stage2"].mean((0, 2, 3))
    torch.testing.assert_close(mean_activations(net, x), expected)
    torch.testing.assert_close(mean_activations(net, x, chunk=7), expected)


@pytest.mark.parametrize("name", ["resnet-4-8", "resnet-4-8x3", "resnet-6", "resnet-6x2"])
def test_a_pruned_channel_is_zero_on_any_image_and_stays_so_in_training(name: str) -> None:
    """Also where a stage has many blocks, or a shortcut that comes straight from the stem."""
    net, pruned = network(name), torch.tensor([0, 3])
    noise = (Seed() / "shifts").generator()
    for norm in net.modules():
        if isinstance(norm, nn.BatchNorm2d):  # a fresh one shifts nothing, a trained one does
            norm.bias.data.copy_(torch.rand(norm.num_features, generator=noise) / 2 + 0.1)
    assert pruned_channels(net).tolist() == []
    prune_channels(net, pruned)
    assert pruned_channels(net).tolist() == [0, 3]
    schedule = Schedule(epochs=3, batch=16, weight_decay=0.05)
    tuned = fine_tune(net, images(), schedule, Seed(), shift=1)
    x = 5 * torch.randn(40, 1, 8, 8, generator=Seed().generator())
    for part in (net, tuned):
        last = list(stage_activations(part, x)[1].values())[-1]
        inactive = last.abs().sum((0, 2, 3)) == 0
        assert inactive.nonzero().flatten().tolist() == [0, 3], "and the others are active"
    assert pruned_channels(tuned).tolist() == [0, 3]
    assert weights_digest(tuned.state_dict()) != weights_digest(net.state_dict())


def test_a_pruned_channel_changes_the_answers_as_if_the_head_did_not_read_it() -> None:
    net, x = network().eval(), images().inputs
    pruned = copy.deepcopy(net)
    prune_channels(pruned, torch.tensor([2, 5]))
    with torch.no_grad():
        net.head.weight[:, [2, 5]] = 0
    torch.testing.assert_close(pruned(x), net(x))


def test_only_small_residual_networks_are_pruned() -> None:
    with pytest.raises(BadModel, match="ElasticResNet"):
        prune_channels(Digits().student("elastic-8-16", Seed()), torch.tensor([0]))
