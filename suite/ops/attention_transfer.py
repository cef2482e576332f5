"""Attention maps of convolutional layers: where in the image their channels are active."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from robustbench_kd.core.tensor_types import PerExample


def attention_map(activations: Tensor, power: float = 2.0) -> Tensor:
    """The sum over channels of |a|^power, flattened and divided by its Euclidean norm.

    Zagoruyko & Komodakis 2017 (Paying more attention to attention). A map of zeros stays zero.

    Args:
        activations: (examples, channels, height, width).
        power: the higher, the more the strongest channels decide.

    Returns:
        (examples, height * width), each row of norm one.
    """
    return F.normalize(activations.abs().pow(power).sum(1).flatten(1), dim=1)


def attention_distance(a: Tensor, b: Tensor, power: float = 2.0) -> PerExample:
    """The squared difference of two attention maps, averaged over positions.

    The layers may differ in channels, not in size. The mean is that of the released code of NAD,
    for which its weights are quoted; it shrinks as maps grow, since their norm is one.
    """
    return (attention_map(a, power) - attention_map(b, power)).square().mean(1)
