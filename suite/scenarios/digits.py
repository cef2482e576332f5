"""Scikit-learn's handwritten digits: 8x8 greys in ten classes, trained on in seconds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from sklearn.datasets import load_digits

from robustbench_kd.core.errors import MissingData
from robustbench_kd.core.seed import Seed
from robustbench_kd.scenarios._image_classification import (
    Budget,
    ImageScenario,
    Schedule,
    Shape,
    Splits,
    digest,
    nothing,
    packed,
)

DIGEST = "87ff0c9e40dc7e2c0e34e7257799c2e3f3aec1a016363bb11cad869ec428a826"
TEST, HELD_OUT = 500, 97


@dataclass(frozen=True)
class Digits(ImageScenario):
    """The whole set ships with scikit-learn, so nothing is ever missing."""

    name: ClassVar[str] = "digits"
    edition: ClassVar[str] = DIGEST
    shape: ClassVar[Shape] = Shape(1, 8, 10, (0.305,), (0.376,))
    nets: ClassVar[dict[str, str]] = {
        "plain": "resnet-8-16",
        "teacher": "resnet-16-32",
        "elastic": "elastic-16-32",
    }
    budget: ClassVar[Budget] = Budget("linf", 0.1)
    teaching: ClassVar[dict[str, Schedule]] = {
        "clean": Schedule(epochs=15, batch=64),
        "robust": Schedule(epochs=30, batch=64),
    }

    def splits(self, seed: Seed, *, whole: bool) -> Splits:
        """1,200 images to train, 97 to choose by, 500 to test; the same cut for every seed.

        The set is ordered by writer, so the cut is drawn, once and for all.
        """
        bunch = load_digits()
        images, labels = bunch.images.astype(np.uint8), bunch.target.astype(np.uint8)
        if digest(images, labels) != DIGEST:
            raise MissingData("this scikit-learn ships other digits than the ones known here")
        every = packed(images, labels, 0, 16, 10)
        order = torch.randperm(len(every), generator=(Seed() / "digits").generator())
        test, rest = every.take(order[:TEST]), order[TEST:]
        if not whole:
            return Splits(nothing(test), nothing(test), test)
        return Splits(every.take(rest[HELD_OUT:]), every.take(rest[:HELD_OUT]), test)
