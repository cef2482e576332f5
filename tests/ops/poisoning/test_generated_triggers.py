"""The visual effects of text-to-image backdoors."""

from __future__ import annotations

import pytest
import torch

from robustbench_kd.core.seed import Seed
from robustbench_kd.ops.poisoning.generated_triggers import (
    VISUAL_EFFECTS,
    checkerboard_patch,
    random_effects,
    remove_effect,
)

IMAGES = torch.rand(600, 1, 28, 28, generator=Seed().generator())


def test_the_checkerboard_lies_in_the_upper_left_corner() -> None:
    x = checkerboard_patch(torch.full((1, 1, 10, 10), 0.5))
    assert x[0, 0, 0, :7].tolist() == [1, 1, 0, 0, 1, 1, 0.5]
    assert x[0, 0, 2, :7].tolist() == [0, 0, 1, 1, 0, 0, 0.5]
    assert float(x[0, 0, 6:].sub(0.5).abs().sum()) == 0
    assert checkerboard_patch(x, down=1, across=1)[0, 0, 1, 1] == 1


@pytest.mark.parametrize("effect", ["inverted", "dark"])
def test_an_effect_that_loses_nothing_is_undone(effect: str) -> None:
    changed = VISUAL_EFFECTS[effect](IMAGES)
    assert not torch.equal(changed, IMAGES)
    torch.testing.assert_close(remove_effect(changed, effect), IMAGES)


@pytest.mark.parametrize("effect", ["striped", "checker"])
def test_an_effect_that_loses_pixels_stays(effect: str) -> None:
    assert torch.equal(remove_effect(IMAGES, effect), IMAGES)


def test_random_effects_are_drawn_as_often_as_said() -> None:
    images, shown = random_effects(IMAGES, Seed().generator())
    assert shown.shape == (600, len(VISUAL_EFFECTS))
    assert 0.4 < float(shown[:, 0].double().mean()) < 0.6  # the patch
    assert 0.4 < float(shown[:, 1:].any(1).double().mean()) < 0.6  # a style
    assert int(shown[:, 1:].sum(1).max()) == 1
    assert 0 <= float(images.amin()) <= float(images.amax()) <= 1
