"""The losses that students, teachers, surrogates and repairs share."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from robustbench_kd.core.config import Budget
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.tensor_types import Ids, Labels, Logits, Scalar
from robustbench_kd.core.types import IGNORED, Examples
from robustbench_kd.models.generation import generate
from robustbench_kd.ops.attacks.pgd import worst_case
from robustbench_kd.ops.attacks.projections import uniform_start
from robustbench_kd.ops.losses import cross_entropy, distillation
from robustbench_kd.training.trainer import Objective, Turn


def by_labels(net: nn.Module, batch: Examples, turn: Turn) -> Scalar:
    """Cross-entropy with the labels on the inputs as they are."""
    scores, y = asked(net(batch.inputs), batch.targets)
    return cross_entropy(scores, y).mean()


def asked(scores: Tensor, targets: Tensor) -> tuple[Logits, Labels]:
    """Scores and targets of what is asked: every image, or every token with a target.

    Language models answer [b, t, v] to [b, t] targets, of which -100 asks for nothing.
    """
    if scores.dim() == 2:
        return scores, targets
    here = targets != IGNORED
    return scores[here], targets[here]


def by_answers(says: Callable[[Ids], Tensor], temperature: float, alpha: float = 1.0) -> Objective:
    """Knowledge distillation (Hinton, Vinyals & Dean 2015, sec. 2).

    Args:
        says: the teacher's logits by id.
        alpha: weight of the teacher against the labels.
    """

    def loss(net: nn.Module, batch: Examples, turn: Turn) -> Scalar:
        s, y = asked(net(batch.inputs), batch.targets)
        teacher, _ = asked(says(batch.ids), batch.targets)
        soft = distillation(s, teacher, temperature)
        return ((1 - alpha) * cross_entropy(s, y) + alpha * soft).mean()

    return loss


def by_samples(says: Callable[[Ids], Tensor]) -> Objective:
    """Cross-entropy with labels that are drawn anew from the teacher's probabilities each time.

    Its mean is that of the teacher at temperature one. The teacher's best label instead would make
    a language model a point mass.
    """

    def loss(net: nn.Module, batch: Examples, turn: Turn) -> Scalar:
        s, _ = asked(net(batch.inputs), batch.targets)
        teacher, _ = asked(says(batch.ids), batch.targets)
        drawn = torch.multinomial(teacher.softmax(1), 1, generator=turn.noise).squeeze(1)
        return cross_entropy(s, drawn).mean()

    return loss


def continued(teacher: nn.Module, data: Examples, prompt: int, seed: Seed) -> Examples:
    """Every text up to its prompt, and then as the teacher goes on; only that is asked.

    Sequence-level distillation (Kim & Rush 2016), with sampled sequences in place of a beam's best.
    Where a row asks for an answer alone, the prompt is all before it, and the answer ends with the
    token that ends the row's own; a row that asks for everything is cut after ``prompt`` tokens.
    """
    noise, length = (seed / "continued").generator(), data.inputs.shape[1]
    here = data.targets != IGNORED
    start = torch.where(here.all(1), prompt - 1, here.int().argmax(1))
    inputs, targets = data.inputs.clone(), torch.full_like(data.targets, IGNORED)
    for first in start.unique().tolist():
        rows = (start == first).nonzero().flatten()
        for part in rows.split(64):
            said = generate(teacher, data.inputs[part, : first + 1], length - first, noise)
            ends = data.targets[part].flip(1)[
                torch.arange(len(part)), here[part].flip(1).int().argmax(1)
            ]
            over = (said == ends[:, None]).int().cumsum(1).cumsum(1) > 1
            over &= ~here[part].all(1, keepdim=True)
            inputs[part, first + 1 :] = said[:, :-1].masked_fill(over[:, :-1], 0)
            targets[part, first:] = said.masked_fill(over, IGNORED)
    return Examples(data.ids, inputs, targets)


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
