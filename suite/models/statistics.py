"""Size, cost and identity of a network: parameters, multiply-accumulates, digest of its weights."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


def parameters(net: nn.Module) -> int:
    """The number of trainable weights."""
    return sum(weight.numel() for weight in net.parameters())


def macs(net: nn.Module, blank: Tensor) -> int:
    """Multiply-accumulates of convolutions and linear layers for the one image ``blank``."""
    total = 0

    def count(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        if isinstance(layer, nn.Conv2d):
            fan_in = layer.in_channels // layer.groups * layer.kernel_size[0] * layer.kernel_size[1]
            total += output[0].numel() * fan_in
        elif isinstance(layer, nn.Linear):
            total += output[0].numel() * layer.in_features

    layers = [m for m in net.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    hooks: list[Any] = [layer.register_forward_hook(count) for layer in layers]
    try:
        with torch.inference_mode():
            net(blank)
    finally:
        for hook in hooks:
            hook.remove()
    return total


def weights_digest(state: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and bytes, in order of name: not that of a file."""
    total = hashlib.sha256()
    for name in sorted(state):
        value = state[name].detach().cpu().contiguous()
        total.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        total.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()
