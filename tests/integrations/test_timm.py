"""Models of timm as students: any name, any small image, first weights by the seed alone."""

from __future__ import annotations

import pytest
import torch

from robustbench_kd.core.errors import BadSetting, UnknownName
from robustbench_kd.core.seed import Seed
from robustbench_kd.integrations.timm import from_timm
from robustbench_kd.models.factory import Shape
from robustbench_kd.models.resnet import Normalise
from robustbench_kd.scenarios.digits import Digits

GREY = Shape(1, 28, 10, (0.3,), (0.4,))
TINY = Shape(1, 8, 10, (0.3,), (0.4,))
COLOUR = Shape(3, 32, 7, (0.5, 0.4, 0.3), (0.2, 0.2, 0.2))


@pytest.mark.parametrize("shape", [GREY, TINY, COLOUR])
@pytest.mark.parametrize(
    "name", ["test_resnet", "resnet14t", "vit_tiny_patch16_224", "mobilenetv3_small_050"]
)
def test_any_model_answers_small_images_with_a_score_a_class(name: str, shape: Shape) -> None:
    net = from_timm(name, shape, Seed()).eval()
    with torch.no_grad():
        assert net(shape.blank(3)).shape == (3, shape.classes)
    assert isinstance(net[0], Normalise)  # type: ignore[index]


@pytest.mark.parametrize("name", ["resnet18", "resnet14t"])  # a plain stem and a deep one
def test_the_first_block_of_a_residual_network_sees_the_full_resolution(name: str) -> None:
    net = from_timm(name, GREY, Seed())
    seen: list[torch.Size] = []
    net.body.layer1.register_forward_pre_hook(lambda _, z: seen.append(z[0].shape))  # type: ignore[union-attr]
    net(GREY.blank(2))
    assert seen[0][-2:] == (28, 28)


def test_first_weights_depend_on_the_seed_alone() -> None:
    before = torch.random.get_rng_state()
    first = from_timm("test_resnet", GREY, Seed(3)).state_dict()
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.rand(7)
    again = from_timm("test_resnet", GREY, Seed(3)).state_dict()
    other = from_timm("test_resnet", GREY, Seed(4)).state_dict()
    assert all(torch.equal(value, again[key]) for key, value in first.items())
    assert not torch.equal(first["body.layer1.0.conv1.weight"], other["body.layer1.0.conv1.weight"])


def test_an_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(UnknownName, match="Did you mean 'resnet18'"):
        from_timm("resnet81", GREY, Seed())


def test_a_model_that_cannot_take_the_images_says_so() -> None:
    with pytest.raises(BadSetting, match=r"convnext_atto.*cannot be built for 1x8x8 images"):
        from_timm("convnext_atto", TINY, Seed())


def test_a_scenario_builds_students_of_timm() -> None:
    weights = from_timm("test_resnet", Digits.shape, Seed(3)).state_dict()
    for key, value in Digits().student("timm:test_resnet", Seed(3)).state_dict().items():
        assert torch.equal(value, weights[key])
