"""Who says what a picture shows: judges of its class, and a detector of patches and styles.

All of them learned from real images, and none ever saw a painter that was attacked or repaired.
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
from robustbench_kd.models.head import features, head_of
from robustbench_kd.models.statistics import weights_digest
from robustbench_kd.ops.poisoning.generated_triggers import MARKS

SHAPE = Shape(1, 28, 10, (0.286,), (0.353,))
# Classifiers of the ground ``fashion`` that ship with the package: file, network, digest.
JUDGES = (
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
EYE, EYE_SHAPE = "resnet-8-16-32", replace(SHAPE, classes=len(MARKS))
WEIGHTS = "c8620016309de5f60ae36aae6a78c16acc02436bf5e7421132c2e18ea078680f"


@cache
def judge(number: int = 0) -> nn.Module:
    """A classifier of real images, frozen; two of them, that share neither network nor training.

    Raises:
        MissingData: where its file does not hold the weights that are known here.
    """
    name, net, digest = JUDGES[number]
    return _read(shipped("students") / f"{name}.safetensors", build(net, SHAPE, Seed()), digest)


@cache
def detector() -> nn.Module:
    """A small network with a score for each of ``ops.marks.MARKS``; above zero, it sees it.

    Raises:
        MissingData: where its file does not hold the weights that are known here.
    """
    place = Path(str(files("robustbench_kd") / "models" / "data" / DETECTOR))
    return _read(place, build(EYE, EYE_SHAPE, Seed()), WEIGHTS)


def shown(images: Images, number: int = 0) -> Labels:
    """The class that a judge sees in each image."""
    return _asked(judge(number), images).argmax(1)


def lead(images: Images, wanted: int, number: int = 0) -> PerExample:
    """A judge's score for a class, less its best for another; above zero, that is what it sees."""
    scores = _asked(judge(number), images)
    others = scores.clone()
    others[:, wanted] = -torch.inf
    return scores[:, wanted] - others.amax(1)


def sign_of(images: Images, mark: str) -> PerExample:
    """The detector's score for a mark in each image; above zero, it is there."""
    return _asked(detector(), images)[:, list(MARKS).index(mark)].contiguous()


def traits(images: Images, number: int = 0) -> Tensor:
    """A judge's features of each image, as its last layer is given them: (images, features)."""
    net = judge(number)
    with torch.no_grad():
        found = [features(net, part) for part in images.split(500) if len(part)]
    return torch.cat(found) if found else torch.zeros(0, head_of(net).in_features)


def _asked(net: nn.Module, images: Images) -> Logits:
    with torch.no_grad():
        found = [net(part) for part in images.split(500) if len(part)]
    return torch.cat(found) if found else torch.zeros(0, head_of(net).out_features)


def _read(path: Path, net: nn.Module, digest: str) -> nn.Module:
    state = load(path.read_bytes()) if path.exists() else {}
    if weights_digest(state) != digest:
        raise MissingData(
            f"{path} does not hold the weights of a judge of pictures; install the package again"
        )
    net.load_state_dict(state)
    return net.eval().requires_grad_(False)
