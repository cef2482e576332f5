"""The two losses by labels that students, teachers, surrogates and repairs all learn by."""

from __future__ import annotations

from torch import nn

from robustbench_kd.ops.ascent import worst_case
from robustbench_kd.ops.ball import uniform_start
from robustbench_kd.ops.losses import cross_entropy
from robustbench_kd.shapes import Scalar
from robustbench_kd.train import Objective, Turn
from robustbench_kd.types import Budget, Examples


def by_labels(net: nn.Module, batch: Examples, turn: Turn) -> Scalar:
    """Cross-entropy with the labels on the inputs as they are."""
    return cross_entropy(net(batch.inputs), batch.targets).mean()


def under_attack(budget: Budget, steps: int, stride: float = 0.25) -> Objective:
    """Cross-entropy on PGD's inputs: adversarial training (Madry et al. 2018, eq. 2).

    Args:
        stride: length of a step, in radii.
    """

    def loss(net: nn.Module, batch: Examples, turn: Turn) -> Scalar:
        x, y = batch.inputs, batch.targets
        start = uniform_start(x, budget, turn.noise)
        z = worst_case(
            net,
            x,
            budget,
            lambda s, _: cross_entropy(s, y),
            steps=steps,
            stride=stride,
            start=start,
        )
        return cross_entropy(net(z), y).mean()

    return loss
