"""What poisons are optimised for: gradients, features, and descent within a ball."""

from __future__ import annotations

import torch
from small_attacks import digits
from torch import Tensor

from robustbench_kd.core.config import Budget
from robustbench_kd.core.seed import Seed
from robustbench_kd.ops.poisoning.gradient_matching import (
    centroid_distance,
    feature_distance,
    gradient_mismatch,
    random_shift_and_flip,
    signed_adam,
    weight_gradient,
)
from robustbench_kd.scenarios.digits import Digits


def test_mismatch_is_0_for_the_same_direction_1_across_and_2_for_the_opposite() -> None:
    a = (torch.tensor([1.0, 2.0]), torch.tensor([[3.0]]))
    twice, against = tuple(2 * part for part in a), tuple(-part for part in a)
    across = (torch.tensor([2.0, -1.0]), torch.tensor([[0.0]]))
    for other, value in ((twice, 0.0), (across, 1.0), (against, 2.0)):
        torch.testing.assert_close(
            gradient_mismatch(a, other), torch.tensor(value), atol=1e-6, rtol=0
        )


def test_mismatch_has_one_norm_over_all_layers() -> None:
    """By layer it would be (0 + 1) / 2; as one vector the long layer decides."""
    a = (torch.tensor([10.0, 0.0]), torch.tensor([1.0, 0.0]))
    b = (torch.tensor([10.0, 0.0]), torch.tensor([0.0, 1.0]))
    torch.testing.assert_close(gradient_mismatch(a, b), torch.tensor(1 - 100 / 101))


def test_the_mismatch_reaches_the_pixels_through_the_gradient_of_the_weights() -> None:
    """Double backward, checked by a difference quotient along the gradient."""
    net, test = Digits().student("resnet-4-8", Seed()).eval().double(), digits(0, 10).test
    x, y = test.inputs[:4].double(), test.targets[:4]
    goal = weight_gradient(net, test.inputs[9:10].double(), test.targets[9:10])

    def mismatch(z: Tensor) -> Tensor:
        return gradient_mismatch(weight_gradient(net, z, y, differentiable=True), goal)

    z = x.clone().requires_grad_(True)
    (slope,) = torch.autograd.grad(mismatch(z), z)
    assert (slope.abs().flatten(1).amax(1) > 0).all()
    step = 1e-5 * slope / slope.norm()
    rise = (mismatch(x + step) - mismatch(x - step)).detach() / 2e-5
    torch.testing.assert_close(rise, slope.norm(), rtol=1e-4, atol=0)
    assert all(weight.grad is None for weight in net.parameters())


def test_signed_adam_finds_the_corner_of_the_ball_for_a_linear_loss() -> None:
    x, w = torch.full((3, 1, 2, 2), 0.5), torch.tensor([[[1.0, -2.0], [0.1, -0.3]]])
    z = signed_adam(lambda z: (z * w).sum(), x, Budget("linf", 0.1), steps=40, stride=0.1, start=x)
    torch.testing.assert_close(z, x - 0.1 * w.sign())


def test_random_shifts_are_whole_pixels_and_fill_with_black() -> None:
    x = torch.zeros(200, 1, 8, 8)
    x[:, :, 4, 3] = 1
    z = random_shift_and_flip(x, 2, False, Seed().generator())
    assert torch.equal(z.sum((1, 2, 3)), torch.ones(200))
    places = {tuple(place) for place in z[:, 0].nonzero()[:, 1:].tolist()}
    assert places == {(row, column) for row in range(2, 7) for column in range(1, 6)}


def test_a_shift_of_nothing_is_the_identity_and_a_flip_mirrors_about_half() -> None:
    x = digits(200, 0).train.inputs
    assert torch.equal(random_shift_and_flip(x, 0, False, Seed().generator()), x)
    z = random_shift_and_flip(x, 0, True, Seed().generator())
    turned = (z == x.flip(3)).flatten(1).all(1)
    assert bool((turned | (z == x).flatten(1).all(1)).all())
    assert 60 < int(turned.sum()) < 140


def test_feature_and_centroid_distances_of_known_features() -> None:
    poisons, target = torch.tensor([[3.0, 5.0], [3.0, 3.0]]), torch.tensor([[3.0, 4.0]])
    assert feature_distance(poisons, target).tolist() == [1.0, 1.0]
    assert float(centroid_distance(poisons, target)) == 0.0
    torch.testing.assert_close(centroid_distance(poisons[:1], target), torch.tensor(0.2))
