"""The last linear layer of a classifier, and what goes into it: the features."""

from __future__ import annotations

from torch import Tensor, nn

from robustbench_kd.core.errors import BadModel
from robustbench_kd.core.tensor_types import Images


def head_of(net: nn.Module) -> nn.Linear:
    """The layer that turns features into scores.

    Raises:
        BadModel: where the network has no linear layer.
    """
    lines = [layer for layer in net.modules() if isinstance(layer, nn.Linear)]
    if not lines:
        raise BadModel("this network has no linear layer, so it has no features to take")
    return lines[-1]


def features(net: nn.Module, x: Images) -> Tensor:
    """What the head is given for these images, a row each; differentiable in them."""
    taken: list[Tensor] = []
    handle = head_of(net).register_forward_pre_hook(lambda _, given: taken.append(given[0]))
    try:
        net(x)
    finally:
        handle.remove()
    return taken[0]
