"""Clipped and noised gradients, against loops and closed forms."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from dp_networks import (
    NETS,
    AttentionNetwork,
    data_for,
    flat_gradient,
    flat_weights,
    gradients_one_by_one,
    images,
    network,
    token_rows,
)
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from robustbench_kd.core.seed import Seed
from robustbench_kd.core.types import IGNORED, Examples
from robustbench_kd.ops.privacy import dp_sgd


def private_gradient(net: nn.Module, data: Examples, **changes: Any) -> Tensor:
    """The private gradient, flat."""
    settings = {"clip": 1.0, "noise": 0.0, "lot": len(data), "chunk": 16} | changes
    generator = (Seed(settings.pop("seed", 0)) / "noise").generator()
    gradient, _ = dp_sgd.private_gradient(net, data.inputs, data.targets, generator, **settings)
    return flat_gradient(gradient)


@pytest.mark.parametrize("name", NETS)
def test_the_gradient_of_each_example_is_that_of_a_pass_of_its_own(name: str) -> None:
    net, data = network(NETS[name]), data_for(name, 6)
    gradients, losses = dp_sgd.per_example_gradients(net, data.inputs, data.targets)
    assert list(gradients) == [key for key, _ in net.named_parameters()]
    for n, (loss, expected) in enumerate(gradients_one_by_one(net, data)):
        torch.testing.assert_close(losses[n], loss, rtol=1e-5, atol=1e-6)
        gradient = flat_gradient({key: g[n] for key, g in gradients.items()})
        torch.testing.assert_close(gradient, expected, rtol=0, atol=2e-6)
        assert float(expected.norm()) > 1e-3


@pytest.mark.parametrize("name", ["perceptron", "attention"])
def test_the_mean_is_that_of_algorithm_one(name: str) -> None:
    """Written down again: shorten each, add them, add noise, divide by the lot."""
    net, data = network(NETS[name]), data_for(name, 7)
    gradients = [gradient for _, gradient in gradients_one_by_one(net, data)]
    clip = float(torch.stack(gradients).norm(dim=1).median())  # some are longer, some are not
    total = sum((g / max(1.0, float(g.norm()) / clip) for g in gradients), torch.zeros(()))
    generator = (Seed(3) / "noise").generator()
    noise = torch.cat(
        [torch.randn(w.shape, generator=generator).flatten() for w in net.parameters()]
    )
    expected = (total + 0.5 * clip * noise) / 10
    gradient = private_gradient(net, data, clip=clip, noise=0.5, lot=10, chunk=3, seed=3)
    torch.testing.assert_close(gradient, expected, rtol=1e-5, atol=1e-6)


@given(
    scales=st.lists(st.floats(-6, 6), min_size=2, max_size=6),
    clip=st.floats(1e-3, 1e3),
    seed=st.integers(0, 1000),
)
def test_no_example_contributes_more_than_the_clip(
    scales: list[float], clip: float, seed: int
) -> None:
    """Whatever the others are; and a gradient that is short enough counts as it is."""
    noise, sizes = Seed(seed).generator(), torch.tensor([10.0**scale for scale in scales])
    gradients = {
        "a": torch.randn(len(scales), 3, 2, generator=noise) * sizes[:, None, None],
        "b": torch.randn(len(scales), generator=noise) * sizes,
    }
    for n in range(len(scales)):
        single = {key: g[n : n + 1] for key, g in gradients.items()}
        clipped = flat_gradient(dp_sgd.clipped_sum(single, clip))
        norm = float(flat_gradient(single).norm())
        assert float(clipped.norm()) == pytest.approx(min(norm, clip), rel=1e-5)
        torch.testing.assert_close(clipped * norm, flat_gradient(single) * float(clipped.norm()))
        rest = {key: torch.cat([g[:n], g[n + 1 :]]) for key, g in gradients.items()}
        with_it, without = (flat_gradient(dp_sgd.clipped_sum(g, clip)) for g in (gradients, rest))
        assert float((with_it - without).norm()) <= clip * (1 + 1e-5 * len(scales))


def test_the_norm_is_over_all_parameters_at_once() -> None:
    gradients = {"a": torch.tensor([[3.0], [0.0]]), "b": torch.tensor([4.0, 1.0])}
    assert dp_sgd.gradient_norms(gradients).tolist() == [5.0, 1.0]
    clipped = flat_gradient(dp_sgd.clipped_sum(gradients, 1.0))
    assert clipped.tolist() == pytest.approx([0.6, 1.8])


@pytest.mark.parametrize(("clip", "sigma", "lot"), [(1.0, 0.7, 4), (0.25, 3.0, 4), (1.0, 0.7, 40)])
def test_the_noise_has_the_stated_deviation_in_every_coordinate(
    clip: float, sigma: float, lot: int
) -> None:
    """Within four standard errors."""
    net = network(lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 200)))
    data, count = images(4), len(flat_weights(net))
    plain = private_gradient(net, data, clip=clip, lot=lot)
    noised = private_gradient(net, data, clip=clip, noise=sigma, lot=lot)
    z = (noised - plain) * lot / (sigma * clip)
    assert abs(float(z.std()) - 1) < 4 / math.sqrt(2 * count)
    assert abs(float(z.mean())) < 4 / math.sqrt(count)
    for part in z.split([weight.numel() for weight in net.parameters()]):
        assert abs(float(part.std()) - 1) < 4 / math.sqrt(2 * len(part))


def test_noise_is_drawn_once_a_batch_and_not_once_a_chunk() -> None:
    net, data = network(), images(10)
    whole = private_gradient(net, data, noise=2.0, chunk=10)
    for chunk in (1, 3, 4096):
        torch.testing.assert_close(private_gradient(net, data, noise=2.0, chunk=chunk), whole)


def test_a_row_without_scored_tokens_has_no_gradient() -> None:
    net, data = network(AttentionNetwork), token_rows(4)
    data.targets[2] = IGNORED
    gradients, losses = dp_sgd.per_example_gradients(net, data.inputs, data.targets)
    assert float(losses[2]) == 0
    assert float(dp_sgd.gradient_norms(gradients)[2]) == 0
    assert float(dp_sgd.gradient_norms(gradients).sum()) > 0


def test_the_surrogate_loss_has_the_given_value_and_gradient() -> None:
    net = network()
    noise = Seed(1).generator()
    gradient = {name: torch.randn(w.shape, generator=noise) for name, w in net.named_parameters()}
    loss = dp_sgd.surrogate_loss(net, gradient, torch.tensor(2.5))
    assert float(loss.detach()) == pytest.approx(2.5)
    for part, expected in zip(
        torch.autograd.grad(loss, list(net.parameters())), gradient.values(), strict=True
    ):
        assert torch.equal(part, expected)
