"""Random shifts of images."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from robustbench_kd.core.seed import Seed
from robustbench_kd.ops.augmentation import random_shift


def test_a_shift_moves_each_image_as_a_whole_and_fills_with_black() -> None:
    x = torch.rand(200, 2, 5, 6, generator=Seed().generator()) + 0.1
    z = random_shift(x, 1, Seed().generator())
    assert z.shape == x.shape
    shifts = set()
    for image, shifted in zip(x, z, strict=True):
        padded = F.pad(image, (1, 1, 1, 1))
        matching = [
            (down, right)
            for down in range(3)
            for right in range(3)
            if torch.equal(shifted, padded[:, down : down + 5, right : right + 6])
        ]
        assert len(matching) == 1
        shifts.update(matching)
    assert len(shifts) == 9, "every shift is drawn"
    assert torch.equal(random_shift(x, 0, Seed().generator()), x)
    assert torch.equal(random_shift(x, 1, Seed().generator()), z)
    assert not torch.equal(random_shift(x, 1, (Seed() / "other").generator()), z)
