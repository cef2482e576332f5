"""Internal activations of a network: the output of its stages, and the input of its last layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from robustbench_kd.core.errors import BadModel
from robustbench_kd.core.tensor_types import Images, Logits
from robustbench_kd.models.resnet import Block


def stage_activations(net: nn.Module, x: Images) -> tuple[Logits, dict[str, Tensor]]:
    """The logits, and the activations that leave each stage: ``stage1``, ``stage2``, ...

    They come from one pass and are differentiable, so a loss on them trains the weights. The hooks
    that read them are removed when this returns, and when the pass fails.

    Raises:
        BadModel: where the network has no stages.
    """
    activations: dict[str, Tensor] = {}

    def reader(name: str) -> Callable[..., None]:
        def read(block: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
            activations[name] = output  # overwritten until the last block of the stage has run

        return read

    hooks = [
        block.register_forward_hook(reader(f"stage{n}"))
        for n, blocks in enumerate(stages(net), 1)
        for block in blocks
    ]
    try:
        logits: Logits = net(x)
    finally:
        for hook in hooks:
            hook.remove()
    return logits, activations


def stages(net: nn.Module) -> list[list[nn.Module]]:
    """The blocks of each stage, in order.

    An entry of ``net.stages`` is a stage, or a list of the blocks of one (elastic networks); but
    small residual networks list all blocks in a row, and there a stride begins a new stage.

    Raises:
        BadModel: where the network has no stages.
    """
    entries = getattr(net, "stages", None)
    if not isinstance(entries, nn.Sequential | nn.ModuleList) or len(entries) == 0:
        raise BadModel(
            f"{type(net).__name__} has no stages to read; a network with stages keeps them in an "
            "attribute of this name, as nn.Sequential or nn.ModuleList"
        )
    blocks_by_stage: list[list[nn.Module]] = []
    for entry in entries:
        if isinstance(entry, nn.ModuleList):
            blocks_by_stage.append(list(entry))
        elif blocks_by_stage and isinstance(entry, Block) and entry.first.stride == (1, 1):
            blocks_by_stage[-1].append(entry)
        else:
            blocks_by_stage.append([entry])
    return blocks_by_stage


def last_linear(net: nn.Module) -> nn.Linear:
    """The layer that maps features to logits.

    Raises:
        BadModel: where the network has no linear layer.
    """
    layers = [layer for layer in net.modules() if isinstance(layer, nn.Linear)]
    if not layers:
        raise BadModel("this network has no linear layer, so it has no features to take")
    return layers[-1]


def features(net: nn.Module, x: Images) -> Tensor:
    """The input of the last linear layer for these images: (b, features); differentiable in them.

    Raises:
        BadModel: where the network has no linear layer.
    """
    layer_inputs: list[Tensor] = []
    handle = last_linear(net).register_forward_pre_hook(
        lambda _, inputs: layer_inputs.append(inputs[0])
    )
    try:
        net(x)
    finally:
        handle.remove()
    return layer_inputs[0]
