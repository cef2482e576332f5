"""Noise, guidance and sampling where the answer is known, and how the small painter is made."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from robustbench_kd.core.errors import BadSetting
from robustbench_kd.core.seed import Seed
from robustbench_kd.models.text_to_image_unet import Cross, Painter, Sizes, painter
from robustbench_kd.ops.generation.diffusion import (
    NoiseSchedule,
    ddim,
    epsilon_loss,
    guided,
    stops,
    token_maps,
)

COSINE = NoiseSchedule()
SIZES = Sizes(words=12, limit=8, wide=8, deep=16, text=8)


def drawn(*shape: int, name: str = "drawn") -> Tensor:
    return torch.randn(shape, generator=(Seed() / name).generator())


def net(seed: int = 0) -> Painter:
    """A small painter whose last layers, which start at zero, are woken."""
    made = painter(SIZES, Seed(seed))
    noise = (Seed(seed) / "awake").generator()
    with torch.no_grad():
        for name, weight in made.named_parameters():
            if name.endswith(("second.weight", "head.weight")):
                weight.normal_(0, 0.2, generator=noise)
    return made.eval()


def asked(count: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    """Latents, steps and prompts."""
    tokens = torch.tensor([[1, 5, 6, 7, 2, 0, 0, 0]]).repeat(count, 1)
    return drawn(count, 4, 14, 14, name="x"), torch.arange(count) * 300, tokens


def knowing(x: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    """Who knows the image sees its noise exactly."""

    def noise(z: Tensor, t: Tensor) -> Tensor:
        kept = COSINE.kept[t].view(-1, 1, 1, 1)
        return (z - kept.sqrt() * x) / (1 - kept).sqrt()

    return noise


def test_the_cosine_schedule_is_that_of_the_paper() -> None:
    t = 500
    wanted = math.cos((0.501 + 0.008) / 1.008 * math.pi / 2) ** 2
    wanted /= math.cos(0.008 / 1.008 * math.pi / 2) ** 2
    assert float(COSINE.kept[t]) == pytest.approx(wanted, rel=1e-5)
    assert len(COSINE.kept) == 1_000
    assert bool((COSINE.kept.diff() < 0).all())
    assert float(COSINE.kept[-1]) > 0


def test_blurred_latents_keep_their_variance_and_can_be_cleared() -> None:
    x, noise, t = drawn(500, 1, 4, 4), drawn(500, 1, 4, 4, name="n"), torch.arange(500)
    z = COSINE.blur(x, noise, t)
    assert float(z.var()) == pytest.approx(1, abs=0.03)
    torch.testing.assert_close(COSINE.clear(z, noise, t), x, atol=1e-4, rtol=1e-4)


def test_who_sees_the_noise_has_no_loss_and_who_sees_none_loses_its_square() -> None:
    x = drawn(6, 4, 5, 5)
    errors = epsilon_loss(knowing(x), x, COSINE, Seed(1).generator())
    assert float(errors.max()) < 1e-6
    blind = epsilon_loss(lambda z, t: torch.zeros_like(z), x, COSINE, Seed(1).generator())
    again = Seed(1).generator()
    COSINE.some(6, again)
    noise = torch.randn(x.shape, generator=again)
    torch.testing.assert_close(blind, noise.square().flatten(1).mean(1))


@pytest.mark.parametrize("steps", [2, 7, 25])
def test_sampling_arrives_at_the_image_that_the_network_knows(steps: int) -> None:
    x = drawn(2, 4, 3, 3).clamp(-1, 1)
    for clip in (1.0, None):
        painted = ddim(knowing(x), drawn(2, 4, 3, 3, name="start"), COSINE, steps, clip)
        torch.testing.assert_close(painted, x, atol=1e-4, rtol=0)


def test_sampling_from_a_gaussian_scales_its_noise() -> None:
    """The best denoiser of N(0, s^2) is known, and so is the flow: the start times s."""
    s = 0.3

    def best(z: Tensor, t: Tensor) -> Tensor:
        kept = COSINE.kept[t].view(-1, 1, 1, 1)
        return (1 - kept).sqrt() * z / (kept * s**2 + 1 - kept)

    start = drawn(2, 1, 4, 4)
    painted = ddim(best, start, COSINE, steps=500, clip=None)
    torch.testing.assert_close(painted, s * start, rtol=0.02, atol=1e-3)


def test_guidance_goes_on_from_the_untold_beyond_the_told() -> None:
    def denoise(z: Tensor, t: Tensor, states: Tensor) -> Tensor:
        return z * 0 + states.view(-1, 1, 1, 1)

    z, t = drawn(2, 1, 2, 2), torch.zeros(2, dtype=torch.int64)
    told, untold = torch.tensor([[3.0], [5.0]]), torch.tensor([[1.0]])
    for scale, wanted in ((0.0, [1.0, 1.0]), (1.0, [3.0, 5.0]), (2.0, [5.0, 9.0])):
        seen = guided(denoise, told, untold, scale)(z, t)
        assert seen[:, 0, 0, 0].tolist() == wanted


def test_a_sampler_starts_at_the_last_step_and_takes_no_more_than_there_are() -> None:
    assert stops(1_000, 4) == [999, 749, 499, 249]
    assert stops(5, 5) == [4, 3, 2, 1, 0]
    for bad in (0, 1_001):
        with pytest.raises(BadSetting, match=f"from 1 to 1000 steps, not {bad}"):
            stops(1_000, bad)


def test_a_schedule_that_does_not_exist_is_refused() -> None:
    with pytest.raises(BadSetting, match="no schedule of noise named 'sine'"):
        NoiseSchedule(kind="sine")


def test_every_layer_returns_maps_that_sum_to_one_over_the_tokens() -> None:
    x, t, tokens = asked()
    made = net()
    noise, looks = made.attend(x, t, made.encode(tokens))
    assert noise.shape == x.shape
    sides = [14, 7, 7, 7, 14]
    assert [tuple(look.maps.shape) for look in looks] == [(3, 2, s, s, 8) for s in sides]
    assert [tuple(look.output.shape[2:]) for look in looks] == [(s, s) for s in sides]
    assert len(made.readers) == len(looks)
    for look in looks:
        torch.testing.assert_close(look.maps.sum(4), torch.ones(look.maps.shape[:4]))
    torch.testing.assert_close(made(x, t, made.encode(tokens)), noise)
    mean = token_maps([look.maps for look in looks], 14)
    assert mean.shape == (3, 8, 14, 14)
    torch.testing.assert_close(mean.sum(1), torch.ones(3, 14, 14))


def test_a_loss_on_the_maps_of_a_layer_teaches_that_layer() -> None:
    x, t, tokens = asked()
    made = net()
    layers = [layer for layer in made.modules() if isinstance(layer, Cross)]
    for n, layer in enumerate(layers):
        _, looks = made.attend(x, t, made.encode(tokens))
        aim = looks[n].maps[..., 2].square().sum()
        words = made.text.embedding.weight
        weights = [layer.key.weight, layer.query.weight, words]
        for gradient in torch.autograd.grad(aim, weights, retain_graph=True):
            assert float(gradient.abs().sum()) > 0
        read = looks[n].output.square().sum()
        assert float(torch.autograd.grad(read, layer.value.weight)[0].abs().sum()) > 0


def test_the_maps_of_two_passes_are_two_things() -> None:
    x, t, tokens = asked()
    teacher, student = net(0), net(1)
    _, first = teacher.attend(x, t, teacher.encode(tokens))
    before = [look.maps.clone() for look in first]
    _, second = student.attend(x, t, student.encode(tokens))
    for kept, mine, other in zip(before, first, second, strict=True):
        assert torch.equal(kept, mine.maps)
        assert not torch.equal(mine.maps, other.maps)


def test_a_prompt_reaches_the_image_by_the_values_of_cross_attention_alone() -> None:
    x, t, tokens = asked()
    other = tokens.clone()
    other[:, 2] = 9
    made = net()
    with torch.no_grad():
        assert not torch.equal(made(x, t, made.encode(tokens)), made(x, t, made.encode(other)))
        for _, value in made.readers:
            value.weight.zero_()
        assert torch.equal(made(x, t, made.encode(tokens)), made(x, t, made.encode(other)))


def test_a_word_changes_its_own_state_and_those_after_it_only() -> None:
    made = net()
    tokens = asked(1)[2]
    other = tokens.clone()
    other[0, 3] = 9
    differs = (made.encode(tokens) - made.encode(other)).abs().sum(2)[0] > 1e-6
    assert differs.tolist() == [False] * 3 + [True] * 5


def test_the_step_changes_what_is_seen() -> None:
    x, t, tokens = asked()
    made = net()
    states = made.encode(tokens)
    assert not torch.allclose(made(x, t, states), made(x, t + 100, states))


def test_folding_loses_nothing() -> None:
    images = torch.rand(3, 1, 28, 28, generator=Seed().generator())
    hidden = net().hide(images)
    assert hidden.shape == (3, 4, 14, 14)
    torch.testing.assert_close(net().show(hidden), images)
    assert float(net().show(hidden * 9).min()) == 0


def test_the_first_weights_depend_on_the_seed_alone() -> None:
    state = torch.get_rng_state()
    one, again, other = painter(SIZES, Seed()), painter(SIZES, Seed()), painter(SIZES, Seed(1))
    assert torch.equal(torch.get_rng_state(), state)
    for a, b in zip(one.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(one.unet.stem.weight, other.unet.stem.weight)
