from __future__ import annotations

import pytest
import torch

from robustbench_kd.core.seed import Seed
from robustbench_kd.models.elastic_resnet import ElasticResNet, LeadingNorm, recalibrate, sort_inner
from robustbench_kd.models.factory import Shape, build
from robustbench_kd.models.statistics import macs, parameters
from robustbench_kd.models.subnet_space import Space

SHAPE = Shape(1, 28, 10, (0.286,), (0.353,))
SPACE = Space((16, 24, 32))


@pytest.fixture(scope="module")
def net() -> ElasticResNet:
    """An elastic network with statistics and norms that are no identity."""
    family = ElasticResNet(SPACE, SHAPE.mean, SHAPE.deviation)
    noise = Seed(0).generator()
    for module in family.modules():
        if isinstance(module, LeadingNorm):
            module.weight.data.uniform_(0.5, 2, generator=noise)
            module.bias.data.normal_(0, 0.1, generator=noise)
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(0, 0.1, generator=noise)
            module.running_var.uniform_(0.5, 2, generator=noise)
    family.live(False)
    return family.eval()


def test_a_cut_student_answers_as_the_elastic_network_does(net: ElasticResNet) -> None:
    noise = Seed(1).generator()
    x = torch.rand(1000, 1, 28, 28, generator=noise)
    forms = [SPACE.smallest, SPACE.largest, *(SPACE.draw(noise) for _ in range(50))]
    with torch.no_grad():
        for form in forms:
            net.active = form
            torch.testing.assert_close(net(x), net.subnet(form)(x), atol=1e-5, rtol=0)


def test_a_form_is_built_again_from_its_name(net: ElasticResNet) -> None:
    form = SPACE.draw(Seed(2).generator())
    build(form.name, SHAPE, Seed()).load_state_dict(net.subnet(form).state_dict())


def test_the_space_holds_each_form_once_and_counts_them() -> None:
    forms = set(SPACE.forms())
    assert len(forms) == len(list(SPACE.forms())) == len(SPACE) == 5832
    assert {SPACE.smallest, SPACE.largest} <= forms
    assert all(SPACE.draw(Seed(n).generator()) in forms for n in range(20))
    assert all(SPACE.chosen([pick] * len(SPACE.choices)) in forms for pick in (0, 1))
    assert SPACE.chosen([0] * len(SPACE.choices)) == SPACE.smallest
    assert len({tuple(SPACE.features(form)) for form in forms}) == len(forms)


def test_the_cost_of_a_form_is_that_of_its_cut_student(
    net: ElasticResNet,
) -> None:
    for form in (SPACE.smallest, SPACE.middle, SPACE.largest, SPACE.draw(Seed(3).generator())):
        cost, student = SPACE.cost(form), net.subnet(form)
        assert (cost.macs, cost.params) == (macs(student, SHAPE.blank()), parameters(student))
    costs = [SPACE.cost(form).macs for form in SPACE.forms()]
    assert min(costs) == SPACE.cost(SPACE.smallest).macs
    assert max(costs) == SPACE.cost(SPACE.largest).macs


def test_sorting_inner_channels_changes_no_answer_of_the_largest(net: ElasticResNet) -> None:
    x = torch.rand(8, 1, 28, 28, generator=Seed(4).generator())
    net.active = SPACE.largest
    with torch.no_grad():
        before = net(x)
        weights = net.stages[0][0].second.weight.clone()
        sort_inner(net)
        torch.testing.assert_close(net(x), before, atol=1e-5, rtol=1e-5)
    lead = net.stages[0][0].second.weight.abs().sum((0, 2, 3))
    assert bool((lead.diff() <= 0).all())
    assert not torch.equal(weights, net.stages[0][0].second.weight)


def test_recalibration_gathers_the_statistics_of_the_images() -> None:
    net = build("resnet-8-8-8", SHAPE, Seed())
    images = torch.rand(400, 1, 28, 28, generator=Seed(5).generator())
    recalibrate(net, images)
    with torch.no_grad():
        stem = net.stem(net.normalise(images))
    torch.testing.assert_close(
        net.stem_norm.running_mean, stem.mean((0, 2, 3)), atol=1e-4, rtol=1e-3
    )
    assert not net.training
    assert net.stem_norm.momentum == 0.1
