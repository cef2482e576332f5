"""Randomness that is passed and named, so that a draw never depends on what ran before it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Seed:
    """A number and the path of names that led here: ``Seed(0) / "pgd" / "start"``."""

    value: int = 0
    path: tuple[str, ...] = ()

    def __truediv__(self, name: object) -> Seed:
        return Seed(self.value, (*self.path, str(name)))

    def number(self) -> int:
        """A 63-bit number that depends on the value and on every name of the path."""
        text = "/".join((str(self.value), *self.path))
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1

    def generator(self) -> torch.Generator:
        """A fresh CPU generator; draws are made there and moved, so that devices agree."""
        import torch

        return torch.Generator().manual_seed(self.number())
