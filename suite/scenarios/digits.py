"""Scikit-learn's handwritten digits: 8x8 greys in ten classes; a network trains in seconds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from sklearn.datasets import load_digits

from robustbench_kd.core.config import Budget, Schedule
from robustbench_kd.core.errors import MissingData
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.types import Splits
from robustbench_kd.models.factory import Shape
from robustbench_kd.scenarios._image_classification import (
    ImageScenario,
    data_digest,
    make_examples,
    no_examples,
)

DIGEST = "87ff0c9e40dc7e2c0e34e7257799c2e3f3aec1a016363bb11cad869ec428a826"
TEST_IMAGES, VALIDATION_IMAGES = 500, 97


@dataclass(frozen=True)
class Digits(ImageScenario):
    """The whole data set ships with scikit-learn, so nothing is ever missing."""

    name: ClassVar[str] = "digits"
    dataset_digest: ClassVar[str] = DIGEST
    shape: ClassVar[Shape] = Shape(1, 8, 10, (0.305,), (0.376,))
    architectures: ClassVar[dict[str, str]] = {
        "plain": "resnet-8-16",
        "teacher": "resnet-16-32",
        "elastic": "elastic-16-32",
    }
    budget: ClassVar[Budget] = Budget("linf", 0.1)
    teacher_schedules: ClassVar[dict[str, Schedule]] = {
        "clean": Schedule(epochs=15, batch=64),
        "robust": Schedule(epochs=30, batch=64),
    }

    def splits(self, seed: Seed, *, whole: bool) -> Splits:
        """1,200 training, 97 validation and 500 test images; the same split for every seed.

        The data set is ordered by writer, so the split is random, with a seed of its own.
        """
        bunch = load_digits()
        images, labels = bunch.images.astype(np.uint8), bunch.target.astype(np.uint8)
        if data_digest(images, labels) != DIGEST:
            raise MissingData("this scikit-learn ships other digits than the ones known here")
        data = make_examples(images, labels, 0, 16, 10)
        order = torch.randperm(len(data), generator=(Seed() / "digits").generator())
        test, rest = data.take(order[:TEST_IMAGES]), order[TEST_IMAGES:]
        if not whole:
            return Splits(no_examples(test), no_examples(test), test)
        validation, train = rest[:VALIDATION_IMAGES], rest[VALIDATION_IMAGES:]
        return Splits(data.take(train), data.take(validation), test)
