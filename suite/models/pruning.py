"""Channels of the last stage of a small residual network, silenced for good."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from robustbench_kd.core.errors import BadModel
from robustbench_kd.core.tensor_types import Images
from robustbench_kd.models.feature_extraction import stages, tap
from robustbench_kd.models.resnet import Block, SmallResNet


def activity(net: nn.Module, x: Images, chunk: int = 500) -> Tensor:
    """The mean activation of each channel that leaves the last stage, over these images."""
    with torch.no_grad():
        sums = [list(tap(net, part)[1].values())[-1].mean((2, 3)).sum(0) for part in x.split(chunk)]
    return torch.stack(sums).sum(0) / len(x)


def silence(net: nn.Module, channels: Tensor) -> None:
    """Sets these channels of the last stage to zero, in place, so that training leaves them there.

    Every norm that feeds them gets scale and shift zero. What reaches the last ReLU is then exactly
    zero, where its slope is zero too: no gradient comes back, momentum stays zero, and weight decay
    takes nothing from nothing. The architecture and the names of the weights stay as they are.

    Raises:
        BadModel: for another network than a small residual one.
    """
    with torch.no_grad():
        for norm in _feeding(net):
            norm.weight[channels] = 0
            norm.bias[channels] = 0


def silenced(net: nn.Module) -> Tensor:
    """Which channels of the last stage can never be active, by number, in ascending order."""
    dead = [(norm.weight == 0) & (norm.bias == 0) for norm in _feeding(net)]
    return torch.stack(dead).all(0).nonzero().squeeze(1)


def _feeding(net: nn.Module) -> list[nn.BatchNorm2d]:
    """The norms that write to the channels of the last stage, in each of its blocks."""
    if not isinstance(net, SmallResNet):
        raise BadModel(
            f"channels can be pruned in small residual networks (resnet-12-24-48), and "
            f"{type(net).__name__} is none"
        )
    norms: list[nn.Module] = []
    blocks = [block for block in stages(net)[-1] if isinstance(block, Block)]
    if isinstance(blocks[0].shortcut, nn.Identity):  # a single stage, as wide as the stem before it
        norms.append(net.stem_norm)
    for block in blocks:
        norms.append(block.second_norm)
        if isinstance(block.shortcut, nn.Sequential):
            norms.append(block.shortcut[1])
    return [norm for norm in norms if isinstance(norm, nn.BatchNorm2d)]
