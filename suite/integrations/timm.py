"""Any model of timm with fresh weights, for images as small as these benchmarks use."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from difflib import get_close_matches
from typing import Any

import timm
import torch
from timm.models.resnet import ResNet
from torch import nn

from robustbench_kd.core.errors import BadSetting, UnknownName
from robustbench_kd.core.seed import Seed
from robustbench_kd.models.factory import Shape
from robustbench_kd.models.resnet import Normalise

SMALL = 64  # up to this size an image is too small to be halved twice before the first block


def from_timm(name: str, shape: Shape, seed: Seed) -> nn.Module:
    """The model of this name; its first weights depend on the seed alone.

    Small images get a first layer that keeps their resolution: residual networks a 3x3 stem of
    stride one and no pooling (He et al. 2016, section 4.2); models that take an image or a patch
    size are given one that fits.

    Raises:
        UnknownName: with the nearest names that timm knows.
        BadSetting: where the model cannot take images of this size.
    """
    known = timm.list_models()
    if name not in known:
        raise UnknownName("timm model", name, get_close_matches(name, known, n=8, cutoff=0.3))
    why: Exception | None = None
    for sizes in _size_arguments(shape.size):
        try:
            return _build(name, shape, seed, sizes)
        except (ArithmeticError, AssertionError, RuntimeError, TypeError, ValueError) as error:
            why = error  # many models take no size; the next try passes fewer arguments
    raise BadSetting(
        f"timm's {name!r} cannot be built for {shape.channels}x{shape.size}x{shape.size} images: "
        f"{why}"
    ) from why


def _size_arguments(size: int) -> list[dict[str, Any]]:
    """Arguments about the image size to try, from the most to the least."""
    patch = next((n for n in range(size // 7, 1, -1) if size % n == 0), 1)
    small = [{"img_size": size, "patch_size": patch}] if size <= SMALL else []
    return [*small, {"img_size": size}, {}]


def _build(name: str, shape: Shape, seed: Seed, sizes: dict[str, Any]) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        # Layers draw their first weights from the global generator; the fork confines it.
        torch.default_generator.manual_seed(seed.number())
        with warnings.catch_warnings():
            # A patch larger than the image makes an empty layer, whose logits are caught below.
            warnings.filterwarnings("ignore", "Initializing zero-element tensors")
            body: Any = timm.create_model(
                name,
                pretrained=False,
                in_chans=shape.channels,
                num_classes=shape.classes,
                **sizes,
            )
        if isinstance(body, ResNet) and shape.size <= SMALL:
            _keep_resolution(body, shape.channels)
        parts = OrderedDict(normalise=Normalise(shape.mean, shape.deviation), body=body)
        net = nn.Sequential(parts).eval()
        with torch.no_grad():
            logits = net(shape.blank(2))
    if logits.shape != (2, shape.classes) or not bool(logits.isfinite().all()):
        raise ValueError("it does not answer two black images with as many finite logits each")
    return net.train()


def _keep_resolution(body: Any, channels: int) -> None:
    """Replaces the stem of a residual network by one for small images, in place."""
    body.maxpool = nn.Identity()
    if isinstance(body.conv1, nn.Sequential):  # a deep stem is 3x3 already, only strided
        stem: Any = body.conv1[0]
        stem.stride = (1, 1)
        return
    body.conv1 = nn.Conv2d(channels, body.conv1.out_channels, 3, 1, 1, bias=False)
    nn.init.kaiming_normal_(body.conv1.weight, mode="fan_out", nonlinearity="relu")
