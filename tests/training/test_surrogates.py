"""Surrogates: networks that an adversary trains by itself."""

from __future__ import annotations

import pytest
import torch

from robustbench_kd.core.seed import Seed
from robustbench_kd.core.types import Examples
from robustbench_kd.training.surrogates import infer_shape, surrogate


def test_surrogates_are_built_for_the_images_at_hand() -> None:
    x = torch.rand(30, 3, 20, 20, generator=Seed().generator())
    x[:, 1] = 0.5
    train = Examples(torch.arange(30), x, torch.arange(30) % 7)
    shape = infer_shape(train)
    assert (shape.channels, shape.size, shape.classes) == (3, 20, 7)
    assert shape.mean[0] == pytest.approx(float(x[:, 0].mean()))
    assert shape.deviation[2] == pytest.approx(float(x[:, 2].std()))
    assert shape.deviation[1] == pytest.approx(1e-3), "a constant channel divides by zero"
    assert surrogate("resnet-4", train, Seed())(x).shape == (30, 7)
