"""Subnets of an elastic network: that they compute what it computes, their cost and space."""

from __future__ import annotations

import pytest
import torch

from robustbench_kd.core.seed import Seed
from robustbench_kd.models.elastic_resnet import (
    ElasticResNet,
    SlicedBatchNorm2d,
    recalibrate_batch_norm,
    sort_inner_channels,
)
from robustbench_kd.models.factory import Shape, build
from robustbench_kd.models.statistics import macs, parameters
from robustbench_kd.models.subnet_space import SubnetSpace

SHAPE = Shape(1, 28, 10, (0.286,), (0.353,))
SPACE = SubnetSpace((16, 24, 32))


@pytest.fixture(scope="module")
def net() -> ElasticResNet:
    """An elastic network with statistics and norms that are no identity."""
    supernet = ElasticResNet(SPACE, SHAPE.mean, SHAPE.deviation)
    noise = Seed(0).generator()
    for module in supernet.modules():
        if isinstance(module, SlicedBatchNorm2d):
            module.weight.data.uniform_(0.5, 2, generator=noise)
            module.bias.data.normal_(0, 0.1, generator=noise)
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(0, 0.1, generator=noise)
            module.running_var.uniform_(0.5, 2, generator=noise)
    supernet.use_batch_statistics(False)
    return supernet.eval()


def test_an_extracted_subnet_computes_what_the_supernet_computes(net: ElasticResNet) -> None:
    noise = Seed(1).generator()
    x = torch.rand(1000, 1, 28, 28, generator=noise)
    configs = [SPACE.smallest, SPACE.largest, *(SPACE.sample(noise) for _ in range(50))]
    with torch.no_grad():
        for config in configs:
            net.active = config
            torch.testing.assert_close(net(x), net.subnet(config)(x), atol=1e-5, rtol=0)


def test_a_subnet_is_built_again_from_its_name(net: ElasticResNet) -> None:
    config = SPACE.sample(Seed(2).generator())
    build(config.name, SHAPE, Seed()).load_state_dict(net.subnet(config).state_dict())


def test_the_space_holds_each_subnet_once_and_counts_them() -> None:
    configs = set(SPACE.configs())
    assert len(configs) == len(list(SPACE.configs())) == len(SPACE) == 5832
    assert {SPACE.smallest, SPACE.largest} <= configs
    assert all(SPACE.sample(Seed(n).generator()) in configs for n in range(20))
    assert all(SPACE.from_choices([option] * len(SPACE.choices)) in configs for option in (0, 1))
    assert SPACE.from_choices([0] * len(SPACE.choices)) == SPACE.smallest
    assert len({tuple(SPACE.features(config)) for config in configs}) == len(configs)


def test_the_cost_of_a_subnet_is_that_of_its_network(
    net: ElasticResNet,
) -> None:
    for config in (SPACE.smallest, SPACE.middle, SPACE.largest, SPACE.sample(Seed(3).generator())):
        cost, student = SPACE.cost(config), net.subnet(config)
        assert (cost.macs, cost.params) == (macs(student, SHAPE.blank()), parameters(student))
    costs = [SPACE.cost(config).macs for config in SPACE.configs()]
    assert min(costs) == SPACE.cost(SPACE.smallest).macs
    assert max(costs) == SPACE.cost(SPACE.largest).macs


def test_sorting_inner_channels_changes_no_answer_of_the_largest_subnet(net: ElasticResNet) -> None:
    x = torch.rand(8, 1, 28, 28, generator=Seed(4).generator())
    net.active = SPACE.largest
    with torch.no_grad():
        before = net(x)
        weights = net.stages[0][0].second.weight.clone()
        sort_inner_channels(net)
        torch.testing.assert_close(net(x), before, atol=1e-5, rtol=1e-5)
    importance = net.stages[0][0].second.weight.abs().sum((0, 2, 3))
    assert bool((importance.diff() <= 0).all())
    assert not torch.equal(weights, net.stages[0][0].second.weight)


def test_recalibration_gathers_the_statistics_of_the_images() -> None:
    net = build("resnet-8-8-8", SHAPE, Seed())
    images = torch.rand(400, 1, 28, 28, generator=Seed(5).generator())
    recalibrate_batch_norm(net, images)
    with torch.no_grad():
        stem = net.stem(net.normalise(images))
    torch.testing.assert_close(
        net.stem_norm.running_mean, stem.mean((0, 2, 3)), atol=1e-4, rtol=1e-3
    )
    assert not net.training
    assert net.stem_norm.momentum == 0.1
