"""Evaluating a user's network: what it must return, and in what state it comes back."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import robustbench_kd
from robustbench_kd.core.errors import RobustbenchError
from robustbench_kd.core.paths import cache
from robustbench_kd.results.record import Record


class Linear(nn.Module):
    """A linear network whose logits are then changed."""

    def __init__(self, change: Callable[[Tensor], Tensor] = lambda s: s) -> None:
        super().__init__()
        self.linear = nn.Linear(64, 10)
        self.change = change

    def forward(self, x: Tensor) -> Tensor:
        return self.change(self.linear(x.flatten(1)))


def evaluate(net: nn.Module, accept_probabilities: bool = False) -> Record:
    """The record of the network unperturbed and under FGSM, on twenty digits."""
    (record,) = robustbench_kd.evaluate(
        net,
        board="digits-linf",
        attacks=["clean", "fgsm"],
        limit=20,
        accept_probabilities=accept_probabilities,
    )
    return record


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s * float("nan"), "NaN or infinite"),
        (lambda s: s.softmax(1), "returns probabilities"),
        (lambda s: s[:, :7], r"returns \(\d+, 10\)"),
        (lambda s: s.detach(), "cannot be differentiated"),
        (lambda s: s @ torch.zeros(3, 10), "the network fails on images of shape"),
    ],
    ids=["nan", "probabilities", "shape", "detached", "crash"],
)
def test_a_network_that_returns_no_logits_is_refused_and_leaves_no_file(
    change: Callable[[Tensor], Tensor], message: str
) -> None:
    with pytest.raises(RobustbenchError, match=message):
        evaluate(Linear(change))
    assert not list(cache().rglob("*.*"))


def test_probabilities_are_accepted_with_a_warning_on_request() -> None:
    record = evaluate(Linear(lambda s: s.softmax(1)), accept_probabilities=True)
    assert "the network returns probabilities, not logits" in record.warnings


def test_a_network_comes_back_in_the_state_it_was_given() -> None:
    net = Linear().train()
    evaluate(net)
    assert net.training
    assert net.linear.training
    assert all(weight.requires_grad for weight in net.parameters())


def test_the_same_weights_in_other_code_are_another_model() -> None:
    first, second = Linear(), Linear(lambda s: -s)
    second.load_state_dict(first.state_dict())
    correct = [evaluate(net).column("clean", "student", "correct") for net in (first, second)]
    assert correct[0] != correct[1]
