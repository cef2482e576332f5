"""Attention maps: where in the image the channels of a layer are active."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from robustbench_kd.core.tensor_types import PerExample


def attention(activations: Tensor, power: float = 2.0) -> Tensor:
    """The sum over channels of |a|^power, flattened, and divided by its Euclidean length.

    Zagoruyko & Komodakis 2017 (Paying more attention to attention). A map of zeros stays one.

    Args:
        activations: (examples, channels, height, width).
        power: the higher, the more the strongest channels decide.

    Returns:
        (examples, height * width), each row of length one.
    """
    return F.normalize(activations.abs().pow(power).sum(1).flatten(1), dim=1)


def attention_distance(one: Tensor, other: Tensor, power: float = 2.0) -> PerExample:
    """The squared difference of two attention maps, averaged over positions.

    The two may differ in channels, not in size. The mean is that of the released code of NAD, whose
    weights are quoted for it; it shrinks as maps grow, since their length is one.
    """
    return (attention(one, power) - attention(other, power)).square().mean(1)
