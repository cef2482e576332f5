"""The small text-to-image network: what reaches what, what a pass returns, how it starts."""

from __future__ import annotations

import torch
from torch import Tensor

from robustbench_kd.core.seed import Seed
from robustbench_kd.models.text_to_image_unet import (
    CrossAttention,
    DiffusionSizes,
    LatentDiffusionNetwork,
    latent_diffusion_network,
)
from robustbench_kd.ops.generation.diffusion import token_maps

SIZES = DiffusionSizes(vocabulary=12, limit=8, width=8, deep_width=16, text_width=8)


def network(seed: int = 0) -> LatentDiffusionNetwork:
    """A small network whose last layers, which start at zero, are random."""
    net = latent_diffusion_network(SIZES, Seed(seed))
    noise = (Seed(seed) / "last").generator()
    with torch.no_grad():
        for name, weight in net.named_parameters():
            if name.endswith(("second.weight", "head.weight")):
                weight.normal_(0, 0.2, generator=noise)
    return net.eval()


def inputs(count: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    """Latents, steps and prompts."""
    x = torch.randn(count, 4, 14, 14, generator=(Seed() / "x").generator())
    tokens = torch.tensor([[1, 5, 6, 7, 2, 0, 0, 0]]).repeat(count, 1)
    return x, torch.arange(count) * 300, tokens


def test_every_layer_returns_maps_that_sum_to_one_over_the_tokens() -> None:
    x, t, tokens = inputs()
    net = network()
    noise, outputs = net.attend(x, t, net.encode(tokens))
    assert noise.shape == x.shape
    sides = [14, 7, 7, 7, 14]
    assert [tuple(output.maps.shape) for output in outputs] == [(3, 2, s, s, 8) for s in sides]
    assert [tuple(output.output.shape[2:]) for output in outputs] == [(s, s) for s in sides]
    assert len(net.cross_attention_projections) == len(outputs)
    for output in outputs:
        torch.testing.assert_close(output.maps.sum(4), torch.ones(output.maps.shape[:4]))
    torch.testing.assert_close(net(x, t, net.encode(tokens)), noise)
    mean = token_maps([output.maps for output in outputs], 14)
    assert mean.shape == (3, 8, 14, 14)
    torch.testing.assert_close(mean.sum(1), torch.ones(3, 14, 14))


def test_a_loss_on_the_maps_of_a_layer_trains_that_layer() -> None:
    x, t, tokens = inputs()
    net = network()
    layers = [layer for layer in net.modules() if isinstance(layer, CrossAttention)]
    for n, layer in enumerate(layers):
        _, outputs = net.attend(x, t, net.encode(tokens))
        loss = outputs[n].maps[..., 2].square().sum()
        weights = [layer.key.weight, layer.query.weight, net.text.embedding.weight]
        for gradient in torch.autograd.grad(loss, weights, retain_graph=True):
            assert float(gradient.abs().sum()) > 0
        loss = outputs[n].output.square().sum()
        assert float(torch.autograd.grad(loss, layer.value.weight)[0].abs().sum()) > 0


def test_a_later_pass_leaves_the_maps_of_an_earlier_one_alone() -> None:
    x, t, tokens = inputs()
    teacher, student = network(0), network(1)
    _, first = teacher.attend(x, t, teacher.encode(tokens))
    before = [output.maps.clone() for output in first]
    _, second = student.attend(x, t, student.encode(tokens))
    for copy, earlier, later in zip(before, first, second, strict=True):
        assert torch.equal(copy, earlier.maps)
        assert not torch.equal(earlier.maps, later.maps)


def test_a_prompt_reaches_the_image_by_the_values_of_cross_attention_alone() -> None:
    x, t, tokens = inputs()
    other = tokens.clone()
    other[:, 2] = 9
    net = network()
    with torch.no_grad():
        assert not torch.equal(net(x, t, net.encode(tokens)), net(x, t, net.encode(other)))
        for _, value in net.cross_attention_projections:
            value.weight.zero_()
        assert torch.equal(net(x, t, net.encode(tokens)), net(x, t, net.encode(other)))


def test_a_word_changes_its_own_state_and_those_after_it_only() -> None:
    net = network()
    tokens = inputs(1)[2]
    other = tokens.clone()
    other[0, 3] = 9
    differs = (net.encode(tokens) - net.encode(other)).abs().sum(2)[0] > 1e-6
    assert differs.tolist() == [False] * 3 + [True] * 5


def test_the_prediction_depends_on_the_step() -> None:
    x, t, tokens = inputs()
    net = network()
    states = net.encode(tokens)
    assert not torch.allclose(net(x, t, states), net(x, t + 100, states))


def test_folding_pixels_loses_nothing() -> None:
    images = torch.rand(3, 1, 28, 28, generator=Seed().generator())
    latents = network().to_latents(images)
    assert latents.shape == (3, 4, 14, 14)
    torch.testing.assert_close(network().to_images(latents), images)
    assert float(network().to_images(latents * 9).min()) == 0


def test_the_initial_weights_depend_on_the_seed_alone() -> None:
    state = torch.get_rng_state()
    first, again, other = (latent_diffusion_network(SIZES, Seed(n)) for n in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    for a, b in zip(first.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(first.unet.stem.weight, other.unet.stem.weight)
