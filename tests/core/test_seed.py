"""Seeds: a value, and a path of names."""

from __future__ import annotations

from typing import Any

import torch

from robustbench_kd.core.seed import Seed


def test_a_seed_depends_on_its_value_and_on_every_name() -> None:
    seeds: list[Any] = [Seed(), Seed(1), Seed() / "a", Seed() / "b", Seed() / "a" / "b", Seed() / 1]
    assert len({seed.number() for seed in seeds}) == len(seeds)
    assert all(0 <= seed.number() < 2**63 for seed in seeds)


def test_equal_seeds_draw_the_same_numbers() -> None:
    first, again = (torch.rand(3, generator=(Seed(4) / "x").generator()) for _ in range(2))
    assert torch.equal(first, again)
