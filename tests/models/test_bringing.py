"""A network of one's own: what is taken, and what is refused in one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import robustbench_kd
from robustbench_kd.core.errors import BadModel, BadSetting, RobustbenchError, UnknownName
from robustbench_kd.core.paths import cache
from robustbench_kd.core.seed import Seed
from robustbench_kd.models.loading import bring
from robustbench_kd.scenarios.digits import Digits

HERE = """
import torch
from torch import nn

def good(): return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
def needy(size): return nn.Linear(size, 10)
def number(): return 5
def broken(): raise OSError("no such weights")
linear = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
"""


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a module of somebody's own."""
    (tmp_path / "somebodys.py").write_text(HERE)
    (tmp_path / "crooked.py").write_text("import a_library_that_is_not_here")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*__import__("sys").path])
    return tmp_path


def keep(net: nn.Module, folder: Path) -> None:
    """The network's weights as ``net.safetensors``."""
    state = {name: weight.contiguous() for name, weight in net.state_dict().items()}
    save_file(state, folder / "net.safetensors")


class Answers(nn.Module):
    """A linear network whose answers are then turned into something else."""

    def __init__(self, turn: object) -> None:
        super().__init__()
        self.line = nn.Linear(64, 10)
        self.turn = turn

    def forward(self, x: Tensor) -> Tensor:
        turned: Tensor = self.turn(self.line(x.flatten(1)))  # type: ignore[operator]
        return turned


def test_a_factory_of_the_current_folder_is_called() -> None:
    net = bring("somebodys:good", None, Digits())
    assert net(torch.zeros(2, 1, 8, 8)).shape == (2, 10)
    assert not net.training


def test_a_module_in_place_of_a_factory_is_taken_as_it_is() -> None:
    assert isinstance(bring("somebodys:linear", None, Digits()), nn.Module)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("nobodys:net", "nobodys cannot be imported: ModuleNotFoundError"),
        ("crooked:net", "a_library_that_is_not_here"),
        ("somebodys:needy", "could not be called without arguments"),
        ("somebodys:broken", "no such weights"),
        ("somebodys:number", "returns a int, not a torch.nn.Module"),
        ("somebodys", "package.module:factory"),
        ("some/where:net", "package.module:factory"),
        ("weights.pt", "only safetensors are loaded"),
        ("weights.pth", "weights_only=True"),
        ("missing.safetensors", "cannot read missing.safetensors"),
    ],
)
def test_what_is_no_network_is_refused(text: str, words: str) -> None:
    net = "plain" if text.endswith(".safetensors") else None
    with pytest.raises(BadModel, match=words):
        bring(text, net, Digits())


def test_a_misspelt_factory_gets_the_nearest_one() -> None:
    with pytest.raises(UnknownName, match="Did you mean 'good'"):
        bring("somebodys:god", None, Digits())


def test_net_goes_with_a_file_and_only_with_a_file() -> None:
    with pytest.raises(BadSetting, match="name it by --net"):
        bring("weights.safetensors", None, Digits())
    with pytest.raises(BadSetting, match="a factory needs none"):
        bring("somebodys:good", "plain", Digits())


def test_weights_come_back_as_they_were_saved(own_folder: Path) -> None:
    net = Digits().student("plain", Seed(5))
    keep(net, own_folder)
    back = bring("net.safetensors", "plain", Digits())
    x = torch.rand(4, 1, 8, 8, generator=Seed().generator())
    assert torch.equal(back(x), net.eval()(x))


def test_the_first_weight_that_does_not_fit_is_named(own_folder: Path) -> None:
    keep(Digits().student("plain", Seed()), own_folder)
    with pytest.raises(BadModel, match=r"'head.weight' has shape \(10, 16\).*\(10, 32\)"):
        bring("net.safetensors", "resnet-16-32", Digits())
    state = {k: v.contiguous() for k, v in Digits().student("plain", Seed()).state_dict().items()}
    save_file({**state, "more": state["head.bias"].clone()}, own_folder / "net.safetensors")
    with pytest.raises(BadModel, match="it holds 'more', which plain has not"):
        bring("net.safetensors", "plain", Digits())
    save_file({k: v for k, v in state.items() if k != "head.bias"}, own_folder / "net.safetensors")
    with pytest.raises(BadModel, match=r"lacks 'head\.bias'"):
        bring("net.safetensors", "plain", Digits())


def test_a_damaged_checkpoint_is_refused(own_folder: Path) -> None:
    keep(Digits().student("plain", Seed()), own_folder)
    whole = (own_folder / "net.safetensors").read_bytes()
    for part in (whole[:-7], b"", b"not safetensors at all"):
        (own_folder / "net.safetensors").write_bytes(part)
        with pytest.raises(BadModel, match="damaged"):
            bring("net.safetensors", "plain", Digits())


@pytest.mark.parametrize(
    ("turn", "words"),
    [
        (lambda s: s * float("nan"), "NaN or infinite"),
        (lambda s: s.softmax(1), "returns probabilities"),
        (lambda s: s[:, :7], r"returns \(64, 10\)"),
        (lambda s: s.detach(), "cannot be differentiated"),
        (lambda s: s @ torch.zeros(3, 10), "the network fails on images of shape"),
    ],
    ids=["nan", "probabilities", "shape", "detached", "crash"],
)
def test_a_network_that_does_not_answer_as_it_must_is_refused_and_leaves_no_file(
    turn: object, words: str
) -> None:
    with pytest.raises(RobustbenchError, match=words):
        robustbench_kd.evaluate(Answers(turn), board="digits-linf", attacks=["fgsm"])
    assert not list(cache().rglob("*.*"))


def test_probabilities_are_taken_with_a_doubt_where_asked() -> None:
    record = robustbench_kd.evaluate(
        Answers(lambda s: s.softmax(1)),
        board="digits-linf",
        attacks=["fgsm"],
        limit=20,
        accept_probabilities=True,
    )
    assert "the network returns probabilities, not logits" in record.doubts


def test_a_network_is_given_back_as_it_came() -> None:
    net = Answers(lambda s: s).train()
    robustbench_kd.evaluate(net, board="digits-linf", attacks=["fgsm"], limit=10)
    assert net.training
    assert net.line.training
    assert all(weight.requires_grad for weight in net.parameters())


def test_the_same_weights_in_another_code_are_asked_again() -> None:
    one, other = Answers(lambda s: s), Answers(lambda s: -s)
    other.load_state_dict(one.state_dict())
    records = [
        robustbench_kd.evaluate(net, board="digits-linf", attacks=["fgsm"]) for net in (one, other)
    ]
    assert records[0].clean != records[1].clean
