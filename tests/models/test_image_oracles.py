"""The packaged oracle classifiers of generated images."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from robustbench_kd.core.errors import MissingData
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.types import Examples
from robustbench_kd.models import image_oracles
from robustbench_kd.models.image_oracles import oracle_features, oracle_labels, oracle_margin
from robustbench_kd.scenarios.fashion_mnist import FashionMNIST


def real_images() -> Examples:
    return FashionMNIST().splits(Seed(), whole=False).test


def test_two_different_oracles_classify_real_images() -> None:
    test = real_images()
    labels = [oracle_labels(test.inputs, number) for number in (0, 1)]
    correct = [int((predicted == test.targets).sum()) for predicted in labels]
    # Of 1,000; a near tie of two logits may be decided otherwise on another processor.
    assert abs(correct[0] - 931) <= 2
    assert abs(correct[1] - 921) <= 2
    assert not torch.equal(*labels)


@pytest.mark.parametrize("number", [0, 1])
def test_a_margin_is_above_zero_for_the_predicted_class_alone(number: int) -> None:
    images = real_images().inputs[:200]
    for label in range(10):
        predicted = oracle_labels(images, number) == label
        assert torch.equal(oracle_margin(images, label, number) > 0, predicted)


def test_no_image_has_no_label_and_no_features() -> None:
    images = real_images().inputs[:3]
    assert oracle_features(images).shape == (3, 128)
    assert oracle_features(images[:0]).shape == (0, 128)
    assert oracle_labels(images[:0]).shape == (0,)


def test_an_oracle_of_other_weights_than_those_known_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = image_oracles.shipped("students") / f"{image_oracles.ORACLES[0][0]}.safetensors"
    monkeypatch.setattr(image_oracles, "shipped", lambda _: tmp_path)
    image_oracles.oracle_classifier.cache_clear()
    with pytest.raises(MissingData, match="does not hold the weights of an oracle classifier"):
        image_oracles.oracle_classifier()  # the file is missing
    raw = bytearray(file.read_bytes())
    raw[-5] ^= 1
    (tmp_path / file.name).write_bytes(raw)
    with pytest.raises(MissingData, match="does not hold the weights of an oracle classifier"):
        image_oracles.oracle_classifier()
