"""Loading a user's network: from an import string or a safetensors file."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load
from torch import nn

from robustbench_kd.core.errors import BadModel, BadRecord, BadSetting, UnknownName
from robustbench_kd.core.io import WEIGHTS_LIMIT, read_bytes
from robustbench_kd.core.protocols import Scenario
from robustbench_kd.core.seed import Seed

PICKLES = {".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".bin"}


def load_network(text: str, net: str | None, scenario: Scenario) -> nn.Module:
    """The network of ``package.module:factory``, or of ``file.safetensors``.

    A factory is called without arguments and returns a module that maps [0, 1] images to logits.
    A file holds the weights of ``net``: a kind of student of the scenario, or any name that
    ``models.factory.build`` knows.

    Raises:
        BadModel: where there is no such network, or it does not fit.
        BadSetting: where ``net`` is missing, or superfluous.
    """
    if Path(text).suffix in PICKLES:
        raise BadModel(
            f"{text} is a pickle, which can run code when it is opened; only safetensors are "
            "loaded. Convert it where you trust it: safetensors.torch.save_file("
            "torch.load(path, weights_only=True), 'model.safetensors')"
        )
    if text.endswith(".safetensors"):
        if net is None:
            raise BadSetting(
                f"{text} holds weights but no architecture; name it by --net "
                f"({', '.join(sorted(scenario.architectures))}, resnet-12-24-48, timm:NAME)"
            )
        return from_file(Path(text), net, scenario)
    if net is not None:
        raise BadSetting(
            "--net names the architecture of a .safetensors file; a factory needs none"
        )
    return from_factory(text)


def from_factory(text: str) -> nn.Module:
    """The network that the factory returns; the current folder is importable.

    Raises:
        BadModel: where module or factory are missing or fail, or return something else.
        UnknownName: where the module has no such factory.
    """
    module, colon, name = text.partition(":")
    if not colon or not name or not module or "/" in module:
        raise BadModel(
            f"cannot read {text!r}; a model is given as package.module:factory, or as a "
            ".safetensors file with --net"
        )
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)
    try:
        factory = getattr(importlib.import_module(module), name)
    except AttributeError as why:
        names = [n for n, v in vars(sys.modules[module]).items() if callable(v) and n[0] != "_"]
        raise UnknownName(f"factory in {module}", name, names or {"nothing"}) from why
    except Exception as why:  # a user's code may fail in any way
        raise BadModel(f"{module} cannot be imported: {type(why).__name__}: {why}") from why
    try:
        network = factory() if not isinstance(factory, nn.Module) else factory
    except Exception as why:  # the same
        raise BadModel(
            f"{text} could not be called without arguments: {type(why).__name__}: {why}"
        ) from why
    if not isinstance(network, nn.Module):
        raise BadModel(f"{text} returns a {type(network).__name__}, not a torch.nn.Module")
    return network.eval()


def from_file(path: Path, net: str, scenario: Scenario) -> nn.Module:
    """The network of that name with the weights in the file.

    Raises:
        BadModel: where the file is missing or damaged, or holds the weights of another network;
            the first key that does not fit is named.
    """
    network = scenario.student(net, Seed())
    try:
        weights = load(read_bytes(path, WEIGHTS_LIMIT, links=True))
    except BadRecord as why:
        raise BadModel(str(why)) from why
    except (SafetensorError, ValueError) as why:
        raise BadModel(f"{path} is no safetensors file, or is damaged: {why}") from why
    expected = network.state_dict()
    for key in sorted({*expected, *weights}):
        if key not in weights:
            raise BadModel(f"{path} does not fit {net}: it lacks {key!r}")
        if key not in expected:
            raise BadModel(f"{path} does not fit {net}: it holds {key!r}, which {net} has not")
        if weights[key].shape != expected[key].shape:
            raise BadModel(
                f"{path} does not fit {net}: {key!r} has shape {tuple(weights[key].shape)}, "
                f"and {net} takes {tuple(expected[key].shape)}"
            )
    network.load_state_dict(weights)
    return network.eval()
