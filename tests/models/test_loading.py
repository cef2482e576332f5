"""Loading a user's network: what is accepted, and what is refused in one sentence."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from robustbench_kd.core.errors import BadModel, BadSetting, UnknownName
from robustbench_kd.core.seed import Seed
from robustbench_kd.models.loading import load_network
from robustbench_kd.scenarios.digits import Digits

FACTORIES = """
import torch
from torch import nn

def good(): return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
def needs_size(size): return nn.Linear(size, 10)
def number(): return 5
def broken(): raise OSError("no such weights")
linear = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a user's module."""
    (tmp_path / "user_module.py").write_text(FACTORIES)
    (tmp_path / "broken_module.py").write_text("import a_library_that_is_not_here")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*sys.path])
    return tmp_path


def save(net: nn.Module, folder: Path) -> None:
    """The network's weights as ``net.safetensors``."""
    state = {name: weight.contiguous() for name, weight in net.state_dict().items()}
    save_file(state, folder / "net.safetensors")


def test_a_factory_of_the_current_folder_is_called() -> None:
    net = load_network("user_module:good", None, Digits())
    assert net(torch.zeros(2, 1, 8, 8)).shape == (2, 10)
    assert not net.training


def test_a_module_in_place_of_a_factory_is_accepted() -> None:
    assert isinstance(load_network("user_module:linear", None, Digits()), nn.Module)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nowhere:net", "nowhere cannot be imported: ModuleNotFoundError"),
        ("broken_module:net", "a_library_that_is_not_here"),
        ("user_module:needs_size", "could not be called without arguments"),
        ("user_module:broken", "no such weights"),
        ("user_module:number", "returns a int, not a torch.nn.Module"),
        ("user_module", "package.module:factory"),
        ("some/where:net", "package.module:factory"),
        ("weights.pt", "only safetensors are loaded"),
        ("weights.pth", "weights_only=True"),
        ("missing.safetensors", "cannot read missing.safetensors"),
    ],
)
def test_what_is_no_network_is_refused(text: str, message: str) -> None:
    net = "plain" if text.endswith(".safetensors") else None
    with pytest.raises(BadModel, match=message):
        load_network(text, net, Digits())


def test_a_misspelt_factory_gets_the_nearest_name() -> None:
    with pytest.raises(UnknownName, match="Did you mean 'good'"):
        load_network("user_module:god", None, Digits())


def test_net_goes_with_a_file_and_only_with_a_file() -> None:
    with pytest.raises(BadSetting, match="name it by --net"):
        load_network("weights.safetensors", None, Digits())
    with pytest.raises(BadSetting, match="a factory needs none"):
        load_network("user_module:good", "plain", Digits())


def test_weights_are_restored_as_they_were_saved(folder: Path) -> None:
    net = Digits().student("plain", Seed(5))
    save(net, folder)
    restored = load_network("net.safetensors", "plain", Digits())
    x = torch.rand(4, 1, 8, 8, generator=Seed().generator())
    assert torch.equal(restored(x), net.eval()(x))


def test_the_first_weight_that_does_not_fit_is_named(folder: Path) -> None:
    save(Digits().student("plain", Seed()), folder)
    with pytest.raises(BadModel, match=r"'head.weight' has shape \(10, 16\).*\(10, 32\)"):
        load_network("net.safetensors", "resnet-16-32", Digits())
    state = {k: v.contiguous() for k, v in Digits().student("plain", Seed()).state_dict().items()}
    save_file({**state, "more": state["head.bias"].clone()}, folder / "net.safetensors")
    with pytest.raises(BadModel, match="it holds 'more', which plain has not"):
        load_network("net.safetensors", "plain", Digits())
    save_file({k: v for k, v in state.items() if k != "head.bias"}, folder / "net.safetensors")
    with pytest.raises(BadModel, match=r"lacks 'head\.bias'"):
        load_network("net.safetensors", "plain", Digits())


def test_a_damaged_checkpoint_is_refused(folder: Path) -> None:
    save(Digits().student("plain", Seed()), folder)
    content = (folder / "net.safetensors").read_bytes()
    for damaged in (content[:-7], b"", b"not safetensors at all"):
        (folder / "net.safetensors").write_bytes(damaged)
        with pytest.raises(BadModel, match="damaged"):
            load_network("net.safetensors", "plain", Digits())
