"""Oracle classifiers for generated images: of the class shown, and of patches and styles.

All of them were trained on real images, and none saw an image of an attacked or repaired model.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from importlib.resources import files
from pathlib import Path

import torch
from safetensors.torch import load
from torch import Tensor, nn

from robustbench_kd.core.errors import MissingData
from robustbench_kd.core.paths import shipped
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.tensor_types import Images, Labels, Logits, PerExample
from robustbench_kd.models.factory import Shape, build
from robustbench_kd.models.feature_extraction import features, last_linear
from robustbench_kd.models.statistics import weights_digest
from robustbench_kd.ops.poisoning.generated_triggers import VISUAL_EFFECTS

SHAPE = Shape(1, 28, 10, (0.286,), (0.353,))
# Classifiers of Fashion-MNIST that ship with the package: file, network, digest of the weights.
ORACLES = (
    (
        "fashion-teacher-clean--b7f5e6d1569c",
        "resnet-32-64-128",
        "073cee3a9a325b3bbdc9cdcce4dc2a3a81d11b59202529682e6d0ce80a78a09c",
    ),
    (
        "fashion-linf-labels-seed0--888f5d211de2",
        "resnet-12-24-48",
        "c7c38ba86b77b55d112dcc11bd84b3e741e6774185619819d2cd047de8fbfbbe",
    ),
)
DETECTOR = "pictures-detector.safetensors"
DETECTOR_NETWORK, DETECTOR_SHAPE = "resnet-8-16-32", replace(SHAPE, classes=len(VISUAL_EFFECTS))
DETECTOR_DIGEST = "c8620016309de5f60ae36aae6a78c16acc02436bf5e7421132c2e18ea078680f"
CHUNK = 500  # images a pass


@cache
def oracle_classifier(number: int = 0) -> nn.Module:
    """A classifier of real images, frozen; the two of them share neither network nor training.

    Raises:
        MissingData: where its file does not hold the expected weights.
    """
    name, net, digest = ORACLES[number]
    return _load(shipped("students") / f"{name}.safetensors", build(net, SHAPE, Seed()), digest)


@cache
def effect_detector() -> nn.Module:
    """A small network with a score for each of ``VISUAL_EFFECTS``; above zero, it is detected.

    Raises:
        MissingData: where its file does not hold the expected weights.
    """
    path = Path(str(files("robustbench_kd") / "models" / "data" / DETECTOR))
    return _load(path, build(DETECTOR_NETWORK, DETECTOR_SHAPE, Seed()), DETECTOR_DIGEST)


def oracle_labels(images: Images, number: int = 0) -> Labels:
    """The class that an oracle predicts for each image."""
    return _logits(oracle_classifier(number), images).argmax(1)


def oracle_margin(images: Images, label: int, number: int = 0) -> PerExample:
    """An oracle's score for a class less its highest other; above zero, it predicts that class."""
    scores = _logits(oracle_classifier(number), images)
    others = scores.clone()
    others[:, label] = -torch.inf
    return scores[:, label] - others.amax(1)


def effect_scores(images: Images, effect: str) -> PerExample:
    """The detector's score for an effect in each image; above zero, it is detected."""
    return _logits(effect_detector(), images)[:, list(VISUAL_EFFECTS).index(effect)].contiguous()


def oracle_features(images: Images, number: int = 0) -> Tensor:
    """An oracle's features of each image, the input of its last layer: (images, features)."""
    net = oracle_classifier(number)
    with torch.no_grad():
        rows = [features(net, part) for part in images.split(CHUNK) if len(part)]
    return torch.cat(rows) if rows else torch.zeros(0, last_linear(net).in_features)


def _logits(net: nn.Module, images: Images) -> Logits:
    with torch.no_grad():
        rows = [net(part) for part in images.split(CHUNK) if len(part)]
    return torch.cat(rows) if rows else torch.zeros(0, last_linear(net).out_features)


def _load(path: Path, net: nn.Module, digest: str) -> nn.Module:
    state = load(path.read_bytes()) if path.exists() else {}
    if weights_digest(state) != digest:
        raise MissingData(
            f"{path} does not hold the weights of an oracle classifier; install the package again"
        )
    net.load_state_dict(state)
    return net.eval().requires_grad_(False)
