"""Noise schedules, losses, guidance and sampling where the answer is known."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from robustbench_kd.core.errors import BadSetting
from robustbench_kd.core.seed import Seed
from robustbench_kd.ops.generation.diffusion import (
    NoiseSchedule,
    classifier_free_guidance,
    ddim,
    epsilon_loss,
    sampling_steps,
)

COSINE = NoiseSchedule()


def gaussian(*shape: int, name: str = "drawn") -> Tensor:
    return torch.randn(shape, generator=(Seed() / name).generator())


def exact_denoiser(x: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    """A network that knows the image, and so predicts its noise exactly."""

    def noise(z: Tensor, t: Tensor) -> Tensor:
        alpha_bar = COSINE.alpha_bar[t].view(-1, 1, 1, 1)
        return (z - alpha_bar.sqrt() * x) / (1 - alpha_bar).sqrt()

    return noise


def test_the_cosine_schedule_is_that_of_the_paper() -> None:
    t = 500
    expected = math.cos((0.501 + 0.008) / 1.008 * math.pi / 2) ** 2
    expected /= math.cos(0.008 / 1.008 * math.pi / 2) ** 2
    assert float(COSINE.alpha_bar[t]) == pytest.approx(expected, rel=1e-5)
    assert len(COSINE.alpha_bar) == 1_000
    assert bool((COSINE.alpha_bar.diff() < 0).all())
    assert float(COSINE.alpha_bar[-1]) > 0


def test_noisy_latents_keep_their_variance_and_the_noise_can_be_removed() -> None:
    x, noise, t = gaussian(500, 1, 4, 4), gaussian(500, 1, 4, 4, name="n"), torch.arange(500)
    z = COSINE.add_noise(x, noise, t)
    assert float(z.var()) == pytest.approx(1, abs=0.03)
    torch.testing.assert_close(COSINE.remove_noise(z, noise, t), x, atol=1e-4, rtol=1e-4)


def test_an_exact_prediction_has_no_loss_and_a_prediction_of_zero_the_square_of_the_noise() -> None:
    x = gaussian(6, 4, 5, 5)
    errors = epsilon_loss(exact_denoiser(x), x, COSINE, Seed(1).generator())
    assert float(errors.max()) < 1e-6
    of_zero = epsilon_loss(lambda z, t: torch.zeros_like(z), x, COSINE, Seed(1).generator())
    generator = Seed(1).generator()
    COSINE.sample_steps(6, generator)
    noise = torch.randn(x.shape, generator=generator)
    torch.testing.assert_close(of_zero, noise.square().flatten(1).mean(1))


@pytest.mark.parametrize("steps", [2, 7, 25])
@pytest.mark.parametrize("clip", [1.0, None])
def test_sampling_arrives_at_the_image_that_the_network_knows(
    steps: int, clip: float | None
) -> None:
    x = gaussian(2, 4, 3, 3).clamp(-1, 1)
    start = gaussian(2, 4, 3, 3, name="start")
    sample = ddim(exact_denoiser(x), start, COSINE, steps, clip)
    torch.testing.assert_close(sample, x, atol=1e-4, rtol=0)


def test_sampling_from_a_gaussian_scales_its_noise() -> None:
    """The best denoiser of N(0, s^2) is known, and so is the flow: the start times s."""
    s = 0.3

    def denoise(z: Tensor, t: Tensor) -> Tensor:
        alpha_bar = COSINE.alpha_bar[t].view(-1, 1, 1, 1)
        return (1 - alpha_bar).sqrt() * z / (alpha_bar * s**2 + 1 - alpha_bar)

    start = gaussian(2, 1, 4, 4)
    sample = ddim(denoise, start, COSINE, steps=500, clip=None)
    torch.testing.assert_close(sample, s * start, rtol=0.02, atol=1e-3)


@pytest.mark.parametrize(("scale", "expected"), [(0.0, [1, 1]), (1.0, [3, 5]), (2.0, [5, 9])])
def test_guidance_extrapolates_from_the_unconditional_prediction(
    scale: float, expected: list[float]
) -> None:
    def denoise(z: Tensor, t: Tensor, states: Tensor) -> Tensor:
        return z * 0 + states.view(-1, 1, 1, 1)

    z, t = gaussian(2, 1, 2, 2), torch.zeros(2, dtype=torch.int64)
    states, empty = torch.tensor([[3.0], [5.0]]), torch.tensor([[1.0]])
    noise = classifier_free_guidance(denoise, states, empty, scale)(z, t)
    assert noise[:, 0, 0, 0].tolist() == expected


def test_a_sampler_starts_at_the_last_step_and_takes_no_more_than_there_are() -> None:
    assert sampling_steps(1_000, 4) == [999, 749, 499, 249]
    assert sampling_steps(5, 5) == [4, 3, 2, 1, 0]
    for steps in (0, 1_001):
        with pytest.raises(BadSetting, match=f"from 1 to 1000 steps, not {steps}"):
            sampling_steps(1_000, steps)


def test_an_unknown_schedule_is_refused() -> None:
    with pytest.raises(BadSetting, match="no noise schedule named 'sine'"):
        NoiseSchedule(kind="sine")
    with pytest.raises(BadSetting, match="at least one step, not 0"):
        NoiseSchedule(steps=0)
