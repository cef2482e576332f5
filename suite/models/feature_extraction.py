"""What the stages of a network pass on, read in one pass and with its gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from robustbench_kd.core.errors import BadModel
from robustbench_kd.core.tensor_types import Images, Logits
from robustbench_kd.models.resnet import Block


def tap(net: nn.Module, x: Images) -> tuple[Logits, dict[str, Tensor]]:
    """The answers, and the activations that leave each stage: ``stage1``, ``stage2``, ...

    They belong to this one pass and are still tied to the weights, so a loss on them teaches. The
    hooks that read them are gone when this returns, and when the pass fails.

    Raises:
        BadModel: where the network has no stages.
    """
    found: dict[str, Tensor] = {}

    def reader(name: str) -> Callable[..., None]:
        def read(block: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
            found[name] = output  # the last block of a stage to run is the one that is kept

        return read

    hooks = [
        block.register_forward_hook(reader(f"stage{n}"))
        for n, blocks in enumerate(stages(net), 1)
        for block in blocks
    ]
    try:
        answers: Logits = net(x)
    finally:
        for hook in hooks:
            hook.remove()
    return answers, found


def stages(net: nn.Module) -> list[list[nn.Module]]:
    """The blocks of each stage, in order.

    An entry of ``net.stages`` is a stage, or a list of the blocks of one (elastic networks); but
    small residual networks list their blocks through, and there a stride begins a new stage.

    Raises:
        BadModel: where the network has no stages.
    """
    entries = getattr(net, "stages", None)
    if not isinstance(entries, nn.Sequential | nn.ModuleList) or len(entries) == 0:
        raise BadModel(
            f"{type(net).__name__} has no stages to read; a network with stages keeps them in an "
            "attribute of this name, as nn.Sequential or nn.ModuleList"
        )
    found: list[list[nn.Module]] = []
    for entry in entries:
        if isinstance(entry, nn.ModuleList):
            found.append(list(entry))
        elif found and isinstance(entry, Block) and entry.first.stride == (1, 1):
            found[-1].append(entry)
        else:
            found.append([entry])
    return found
