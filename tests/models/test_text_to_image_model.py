"""Text-to-image networks as target models: what an image depends on, and what is refused."""

from __future__ import annotations

import copy
from functools import cache

import pytest
import torch
from small_text_to_image import SPECIAL, small_network, without_cross_attention
from torch import Tensor

from robustbench_kd.core.config import AdamW
from robustbench_kd.core.errors import BadModel, BadSetting
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.types import Examples
from robustbench_kd.models.factory import build
from robustbench_kd.models.text_to_image import text_to_image_model, trainable_copy
from robustbench_kd.models.text_to_image_unet import LatentDiffusionNetwork
from robustbench_kd.ops.generation.prompts import word_counts
from robustbench_kd.scenarios.fashion_mnist import FashionMNIST
from robustbench_kd.scenarios.text_to_image import TRAIN_TEMPLATES, TextToImage, make_prompts
from robustbench_kd.training.denoising import denoising_objective
from robustbench_kd.training.trainer import TrainStep, fit


@cache
def real_images() -> Examples:
    return FashionMNIST().splits(Seed(), whole=False).test


def pairs(count: int) -> Examples:
    """Prompts with the images that they name."""
    part = real_images().take(torch.arange(count))
    return Examples(part.ids, make_prompts(part.targets, TRAIN_TEMPLATES, "pairs"), part.inputs)


def network() -> LatentDiffusionNetwork:
    """A copy of the small network, whose weights can be changed."""
    return copy.deepcopy(small_network()).requires_grad_(True)


def test_an_image_depends_on_its_prompt_and_its_row_alone() -> None:
    model, prompts = text_to_image_model(network()), pairs(5).inputs
    state = torch.get_rng_state()
    images = model.answer(prompts)
    assert torch.equal(torch.get_rng_state(), state)
    assert images.shape == (5, 1, 28, 28)
    assert float(images.min()) >= 0
    assert float(images.max()) <= 1
    assert torch.equal(model.answer(prompts), images)
    # Batches of other sizes take other kernels, and differ by rounding over 25 steps.
    torch.testing.assert_close(model.answer(prompts[:2]), images[:2], atol=1e-3, rtol=0)
    in_chunks = text_to_image_model(network(), chunk=2).answer(prompts)
    torch.testing.assert_close(in_chunks, images, atol=1e-3, rtol=0)
    assert not torch.allclose(text_to_image_model(network(), seed=Seed(1)).answer(prompts), images)
    assert model.answer(prompts[:0]).shape == (0, 1, 28, 28)


def test_latents_are_clipped_to_the_bound_of_the_network() -> None:
    bounded, unbounded, prompts = network(), network(), pairs(2).inputs
    unbounded.bound = None
    with torch.no_grad():
        for net in (bounded, unbounded):
            net.unet.head.weight.mul_(5)  # so that latents leave the box
    images = text_to_image_model(bounded).answer(prompts)
    assert not torch.allclose(text_to_image_model(unbounded).answer(prompts), images, atol=1e-3)


def test_every_pass_is_counted() -> None:
    data = pairs(3)
    guided = text_to_image_model(network(), steps=4)
    plain = text_to_image_model(network(), steps=4, scale=1.0, chunk=2)
    guided.answer(data.inputs)
    plain.answer(data.inputs)
    assert guided.passes.forward == 2 * 4 * 3
    assert plain.passes.forward == 4 * 3
    plain.example_losses(data)
    assert plain.passes.forward == 4 * 3 + 10 * 3


def test_a_target_model_is_frozen_and_only_the_unet_of_a_trainable_copy_is_trained() -> None:
    net = network()
    start = trainable_copy(net)  # before the network is frozen
    model = text_to_image_model(net)
    assert not any(weight.requires_grad for weight in net.parameters())
    schedule = AdamW(epochs=1, batch=32, learning_rate=1e-3)
    trained = fit(start, pairs(64), denoising_objective(), schedule, Seed())
    for name, weight in trained.named_parameters():
        moved = not torch.equal(weight, net.get_parameter(name))
        assert moved == name.startswith("unet."), name
    prompts = pairs(2).inputs
    assert not torch.equal(model.answer(prompts), text_to_image_model(trained).answer(prompts))


def test_other_networks_and_prompts_are_refused() -> None:
    classifier = build("resnet-8-16", FashionMNIST.shape, Seed())
    with pytest.raises(BadModel, match="SmallResNet is no text-to-image network: it lacks token"):
        text_to_image_model(classifier)
    for refuse in (text_to_image_model, trainable_copy):
        with pytest.raises(BadModel, match="WithoutCrossAttention has no cross-attention"):
            refuse(without_cross_attention())
    with pytest.raises(BadSetting, match=r"rows of 16 tokens.*not in the shape \(2, 4\)"):
        text_to_image_model(network()).answer(torch.zeros(2, 4, dtype=torch.int64))


def test_a_network_that_generates_nan_is_refused() -> None:
    net = network()
    with torch.no_grad():
        net.unet.head.weight.fill_(torch.nan)
    with pytest.raises(BadModel, match="NaN or infinite"):
        text_to_image_model(net).answer(pairs(1).inputs)


def test_training_lowers_the_denoising_loss() -> None:
    data, fresh = pairs(200), TextToImage().student("painter-8-16", Seed())
    schedule = AdamW(epochs=6, batch=20, learning_rate=3e-3)
    trained = fit(fresh, data, denoising_objective(), schedule, Seed())
    before, after = (
        float(text_to_image_model(net).example_losses(data).mean()) for net in (fresh, trained)
    )
    assert before == pytest.approx(1, abs=0.02)  # it predicts zero, and noise has variance 1
    assert after < 0.6


def test_the_denoising_objective_drops_the_given_share_of_prompts() -> None:
    data, encoded = pairs(400), []

    class Recording(LatentDiffusionNetwork):
        def encode(self, tokens: Tensor) -> Tensor:
            encoded.append(tokens)
            return super().encode(tokens)

    net = network()
    recording = Recording(net.sizes, net.tokenizer, net.schedule)
    for share, low, high in ((0.0, 0, 0), (0.1, 20, 65), (1.0, 400, 400)):
        denoising_objective(share)(recording, data, TrainStep(Seed().generator(), 0.0))
        dropped = int((word_counts(encoded[-1], SPECIAL) == 0).sum())
        assert low <= dropped <= high
