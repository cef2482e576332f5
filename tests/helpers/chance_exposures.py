"""Exposures of secrets that were never inserted, and of some that rank first."""

from __future__ import annotations

from collections.abc import Callable
from math import log2
from random import Random

from robustbench_kd.core.seed import Seed
from robustbench_kd.ops.privacy.exposure import exposure

SPACE = 10_000
MAXIMUM = log2(SPACE)
Draw = Callable[[Random], float]


def random_for(*names: object) -> Random:
    """Numbers that depend on the names."""
    seed = Seed(7)
    for name in names:
        seed = seed / name
    return Random(seed.number())


def chance_exposure(random: Random) -> float:
    """The exposure of a secret that was never inserted."""
    return exposure(random.randrange(SPACE) + 1, SPACE)


def partly_memorised(share: float) -> Draw:
    """Exposures at chance, but for a share of secrets that rank first."""
    return lambda random: MAXIMUM if random.random() < share else chance_exposure(random)
