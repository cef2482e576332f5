"""A network of one's own: found by its import string or in a safetensors file, or refused."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load
from torch import nn

from robustbench_kd.core.errors import BadModel, BadRecord, BadSetting, UnknownName
from robustbench_kd.core.io import read_bytes
from robustbench_kd.core.protocols import Scenario
from robustbench_kd.core.seed import Seed

PICKLES = {".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".bin"}


def bring(text: str, net: str | None, scenario: Scenario) -> nn.Module:
    """The network behind ``package.module:factory``, or in ``file.safetensors``.

    A factory is called without arguments and returns a module that maps [0, 1] images to logits.
    A file holds the weights of ``net``: a kind of student of the scenario, or any name that
    ``nets.build`` knows.

    Raises:
        BadModel: where nothing is found there, or what is found does not fit.
        BadSetting: where ``net`` is missing, or makes no sense.
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
                f"({', '.join(sorted(scenario.nets))}, resnet-12-24-48, timm:NAME)"
            )
        return from_file(Path(text), net, scenario)
    if net is not None:
        raise BadSetting(
            "--net names the architecture of a .safetensors file; a factory needs none"
        )
    return from_factory(text)


def from_factory(text: str) -> nn.Module:
    """What the factory makes; the current folder is importable.

    Raises:
        BadModel: where module or factory are missing or fail, or make something else.
    """
    module, sign, name = text.partition(":")
    if not sign or not name or not module or "/" in module:
        raise BadModel(
            f"cannot read {text!r}; a model is given as package.module:factory, or as a "
            ".safetensors file with --net"
        )
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)
    try:
        factory = getattr(importlib.import_module(module), name)
    except AttributeError as why:
        known = [n for n, v in vars(sys.modules[module]).items() if callable(v) and n[0] != "_"]
        raise UnknownName(f"factory in {module}", name, known or {"nothing"}) from why
    except Exception as why:  # it is somebody's code, which may fail in any way
        raise BadModel(f"{module} cannot be imported: {type(why).__name__}: {why}") from why
    try:
        made = factory() if not isinstance(factory, nn.Module) else factory
    except Exception as why:  # the same
        raise BadModel(
            f"{text} could not be called without arguments: {type(why).__name__}: {why}"
        ) from why
    if not isinstance(made, nn.Module):
        raise BadModel(f"{text} returns a {type(made).__name__}, not a torch.nn.Module")
    return made.eval()


def from_file(path: Path, net: str, scenario: Scenario) -> nn.Module:
    """The network of that name with the weights in the file.

    Raises:
        BadModel: where the file is missing or damaged, or holds the weights of another network;
            the first key that does not fit is named.
    """
    fresh = scenario.student(net, Seed())
    try:
        found = load(read_bytes(path))
    except BadRecord as why:
        raise BadModel(str(why)) from why
    except (SafetensorError, ValueError) as why:
        raise BadModel(f"{path} is no safetensors file, or is damaged: {why}") from why
    wanted = fresh.state_dict()
    for key in sorted({*wanted, *found}):
        if key not in found:
            raise BadModel(f"{path} does not fit {net}: it lacks {key!r}")
        if key not in wanted:
            raise BadModel(f"{path} does not fit {net}: it holds {key!r}, which {net} has not")
        if found[key].shape != wanted[key].shape:
            raise BadModel(
                f"{path} does not fit {net}: {key!r} has shape {tuple(found[key].shape)}, "
                f"and {net} takes {tuple(wanted[key].shape)}"
            )
    fresh.load_state_dict(found)
    return fresh.eval()
