"""The losses that students, teachers, surrogates and repairs share."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from robustbench_kd.ops.ascent import worst_case
from robustbench_kd.ops.ball import uniform_start
from robustbench_kd.ops.losses import cross_entropy, distillation
from robustbench_kd.shapes import Ids, Logits, Scalar
from robustbench_kd.train import Objective, Turn
from robustbench_kd.types import Budget, Examples


def by_labels(net: nn.Module, batch: Examples, turn: Turn) -> Scalar:
    """Cross-entropy with the labels on the inputs as they are."""
    return cross_entropy(net(batch.inputs), batch.targets).mean()


def by_answers(says: Callable[[Ids], Logits], temperature: float, alpha: float = 1.0) -> Objective:
    """Knowledge distillation (Hinton, Vinyals & Dean 2015, sec. 2).

    Args:
        says: the teacher's logits by id.
        alpha: weight of the teacher against the labels.
    """

    def loss(net: nn.Module, batch: Examples, turn: Turn) -> Scalar:
        s = net(batch.inputs)
        soft = distillation(s, says(batch.ids), temperature)
        return ((1 - alpha) * cross_entropy(s, batch.targets) + alpha * soft).mean()

    return loss


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
