"""Activations that leave each stage of a network, read by hooks that do not stay."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from digit_networks import images, network
from torch import nn

from robustbench_kd.core.errors import BadModel
from robustbench_kd.core.seed import Seed
from robustbench_kd.models.feature_extraction import stage_activations, stages
from robustbench_kd.scenarios.digits import Digits


def hook_count(net: nn.Module) -> int:
    return sum(len(module._forward_hooks) for module in net.modules())


def test_activations_are_what_leaves_each_stage() -> None:
    net, x = network("resnet-4-8-16x2").eval(), images().inputs[:5]
    logits, activations = stage_activations(net, x)
    assert torch.equal(logits, net(x))
    assert list(activations) == ["stage1", "stage2", "stage3"]
    shapes = [tuple(a.shape[1:]) for a in activations.values()]
    assert shapes == [(4, 8, 8), (8, 4, 4), (16, 2, 2)]
    torch.testing.assert_close(net.head(activations["stage3"].mean((2, 3))), logits)
    assert [len(blocks) for blocks in stages(net)] == [2, 2, 2]


def test_the_stages_of_an_elastic_network_are_those_of_its_active_subnet() -> None:
    net, x = Digits().student("elastic-8-16", Seed()).eval(), images().inputs[:5]
    shapes = [tuple(a.shape[1:]) for a in stage_activations(net, x)[1].values()]
    assert shapes == [(8, 8, 8), (16, 4, 4)]
    space: Any = net.space
    config = next(c for c in space.configs() if c.depths == (1, 1) and c.widths != space.widest)
    net.active = config
    logits, activations = stage_activations(net, x)
    assert [a.shape[1] for a in activations.values()] == list(config.widths)
    assert torch.equal(logits, net(x))


def test_activations_depend_on_the_weights_before_them_and_on_no_others() -> None:
    net = network()
    value = stage_activations(net, images().inputs[:5])[1]["stage1"].sum()
    gradients = torch.autograd.grad(value, [net.stem.weight, net.head.weight], allow_unused=True)
    assert gradients[0] is not None
    assert float(gradients[0].norm()) > 0
    assert gradients[1] is None


def test_no_hook_stays_even_when_the_pass_fails() -> None:
    net = network()
    stage_activations(net, images().inputs[:5])
    assert hook_count(net) == 0
    net.head = nn.Linear(3, 10)  # fits no features
    with pytest.raises(RuntimeError):
        stage_activations(net, images().inputs[:5])
    assert hook_count(net) == 0


def test_activations_of_two_networks_are_independent() -> None:
    a, b, x = network().eval(), network("resnet-6-8").eval(), images().inputs[:5]
    _, first = stage_activations(a, x)
    before = first["stage2"].clone()
    _, second = stage_activations(b, 1 - x)
    assert torch.equal(first["stage2"], before)
    assert not torch.equal(first["stage2"], second["stage2"])


def test_a_network_without_stages_is_refused_in_one_sentence() -> None:
    bare = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    with pytest.raises(BadModel, match="Sequential has no stages"):
        stage_activations(bare, images().inputs)
