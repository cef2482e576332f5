"""Gradients with respect to inputs, without side effects on the network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn

from robustbench_kd.core.tensor_types import Images, PerExample


def input_gradient(score: Callable[[Images], PerExample], x: Images) -> Images:
    """The gradient of each example's score with respect to its own input.

    Scores are summed, which gives one gradient an example as long as no example's score depends on
    another's input (true for any network in eval mode). Parameters receive no gradient.
    """
    return score_and_gradient(score, x)[1]


def score_and_gradient(
    score: Callable[[Images], PerExample], x: Images
) -> tuple[PerExample, Images]:
    """The scores at ``x`` (detached) and their input gradients, from one pass."""
    with torch.enable_grad():
        z = x.detach().requires_grad_(True)
        values = score(z)
        (gradient,) = torch.autograd.grad(values.sum(), z)
    return values.detach(), gradient


@contextmanager
def frozen_eval_mode(net: nn.Module) -> Iterator[nn.Module]:
    """The network in eval mode with frozen parameters; modes and flags are restored afterwards.

    Each module's own mode is restored, not the root's: a student may be trained with some of its
    layers already in eval mode.
    """
    modes = [(module, module.training) for module in net.modules()]
    flags = [(parameter, parameter.requires_grad) for parameter in net.parameters()]
    net.eval()
    for parameter, _ in flags:
        parameter.requires_grad_(False)
    try:
        yield net
    finally:
        for module, mode in modes:
            module.training = mode
        for parameter, flag in flags:
            parameter.requires_grad_(flag)
