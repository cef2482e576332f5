"""Channel pruning in the last stage of a small residual network."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from robustbench_kd.core.errors import BadModel
from robustbench_kd.core.tensor_types import Images
from robustbench_kd.models.feature_extraction import stage_activations, stages
from robustbench_kd.models.resnet import Block, SmallResNet


def mean_activations(net: nn.Module, x: Images, chunk: int = 500) -> Tensor:
    """The mean activation of each channel that leaves the last stage, over these images."""
    sums = []
    with torch.no_grad():
        for part in x.split(chunk):
            *_, last = stage_activations(net, part)[1].values()
            sums.append(last.mean((2, 3)).sum(0))
    return torch.stack(sums).sum(0) / len(x)


def prune_channels(net: nn.Module, channels: Tensor) -> None:
    """Sets these channels of the last stage to zero, in place, so that training leaves them there.

    Every norm that feeds them gets scale and shift zero. The input of the last ReLU is then exactly
    zero, where its slope is zero too: no gradient comes back, momentum stays zero, and weight decay
    leaves zero at zero. The architecture and the names of the weights stay as they are.

    Raises:
        BadModel: for another network than a small residual one.
    """
    with torch.no_grad():
        for norm in _output_norms(net):
            norm.weight[channels] = 0
            norm.bias[channels] = 0


def pruned_channels(net: nn.Module) -> Tensor:
    """Which channels of the last stage can never be active, by number, in ascending order.

    Raises:
        BadModel: for another network than a small residual one.
    """
    zero = [(norm.weight == 0) & (norm.bias == 0) for norm in _output_norms(net)]
    return torch.stack(zero).all(0).nonzero().squeeze(1)


def _output_norms(net: nn.Module) -> list[nn.BatchNorm2d]:
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
