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
from robustbench_kd.training.trainer import Objective, TrainStep


def label_loss(net: nn.Module, batch: Examples, step: TrainStep) -> Scalar:
    """Cross-entropy with the labels on the inputs as they are."""
    logits, y = scored_positions(net(batch.inputs), batch.targets)
    return cross_entropy(logits, y).mean()


def scored_positions(logits: Tensor, targets: Tensor) -> tuple[Logits, Labels]:
    """Logits and targets of what a loss scores: every image, or every token with a target.

    Language models return [b, t, v] for [b, t] targets, of which -100 is not scored.
    """
    if logits.dim() == 2:
        return logits, targets
    is_scored = targets != IGNORED
    return logits[is_scored], targets[is_scored]


def distillation_loss(
    teacher_logits: Callable[[Ids], Tensor], temperature: float, alpha: float = 1.0
) -> Objective:
    """Knowledge distillation (Hinton, Vinyals & Dean 2015, sec. 2).

    Args:
        teacher_logits: by id, as ``cached_logits`` gives them.
        alpha: weight of the teacher against the labels.
    """

    def loss(net: nn.Module, batch: Examples, step: TrainStep) -> Scalar:
        student, y = scored_positions(net(batch.inputs), batch.targets)
        teacher, _ = scored_positions(teacher_logits(batch.ids), batch.targets)
        soft = distillation(student, teacher, temperature)
        return ((1 - alpha) * cross_entropy(student, y) + alpha * soft).mean()

    return loss


def sampled_label_loss(teacher_logits: Callable[[Ids], Tensor]) -> Objective:
    """Cross-entropy with labels drawn from the teacher's probabilities, anew at each step.

    Its expectation is distillation at temperature 1. With the teacher's most likely label instead,
    a language model would learn a point mass.
    """

    def loss(net: nn.Module, batch: Examples, step: TrainStep) -> Scalar:
        student, _ = scored_positions(net(batch.inputs), batch.targets)
        teacher, _ = scored_positions(teacher_logits(batch.ids), batch.targets)
        labels = torch.multinomial(teacher.softmax(1), 1, generator=step.noise).squeeze(1)
        return cross_entropy(student, labels).mean()

    return loss


def sampled_continuations(teacher: nn.Module, data: Examples, prompt: int, seed: Seed) -> Examples:
    """Each text cut after its prompt and continued by samples of the teacher.

    Sequence-level distillation (Kim & Rush 2016), with sampled sequences in place of the best of a
    beam. A row with a target at every token is cut after ``prompt`` tokens. Where only an answer is
    scored, the prompt is all before it, and the sampled answer ends at the first token that equals
    the last one of the row's own answer.

    Returns:
        Rows of the same shape and ids; only sampled tokens are scored.
    """
    noise, length = (seed / "continued").generator(), data.inputs.shape[1]
    is_scored = data.targets != IGNORED
    start = torch.where(is_scored.all(1), prompt - 1, is_scored.int().argmax(1))
    inputs, targets = data.inputs.clone(), torch.full_like(data.targets, IGNORED)
    for first in start.unique().tolist():
        rows = (start == first).nonzero().flatten()
        for part in rows.split(64):
            samples = generate(teacher, data.inputs[part, : first + 1], length - first, noise)
            last = is_scored[part].flip(1).int().argmax(1)
            end_token = data.targets[part].flip(1)[torch.arange(len(part)), last]
            after_end = (samples == end_token[:, None]).int().cumsum(1).cumsum(1) > 1
            after_end &= ~is_scored[part].all(1, keepdim=True)
            inputs[part, first + 1 :] = samples[:, :-1].masked_fill(after_end[:, :-1], 0)
            targets[part, first:] = samples.masked_fill(after_end, IGNORED)
    return Examples(data.ids, inputs, targets)


def adversarial_loss(budget: Budget, steps: int, stride: float = 0.25) -> Objective:
    """Cross-entropy on PGD's inputs: adversarial training (Madry et al. 2018, eq. 2).

    Args:
        stride: length of a step, in radii.
    """

    def loss(net: nn.Module, batch: Examples, step: TrainStep) -> Scalar:
        x, y = batch.inputs, batch.targets
        x_adv = worst_case(
            net,
            x,
            budget,
            lambda logits, _: cross_entropy(logits, y),
            steps=steps,
            stride=stride,
            start=uniform_start(x, budget, step.noise),
        )
        return cross_entropy(net(x_adv), y).mean()

    return loss
