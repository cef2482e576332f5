"""Losses that attacks maximise and students minimise, one number an example.

Divergences are summed over classes (torch calls the mean of these over a batch ``batchmean``).
Several reference repositories also average over classes, which divides by their number; the weights
of the papers are kept and that division is not.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from robustbench_kd.core.tensor_types import Labels, Logits, PerExample


def cross_entropy(logits: Logits, y: Labels) -> PerExample:
    """Minus the log-probability of the label, in nats."""
    return F.cross_entropy(logits, y, reduction="none")


def divergence(target: Logits, predicted: Logits, temperature: float = 1.0) -> PerExample:
    """KL(softmax(target / t) || softmax(predicted / t)), in nats; differentiable in both."""
    p = F.log_softmax(target / temperature, 1)
    q = F.log_softmax(predicted / temperature, 1)
    return (p.exp() * (p - q)).sum(1)


def distillation(student: Logits, teacher: Logits, temperature: float = 1.0) -> PerExample:
    """t^2 KL(teacher || student) at temperature t (Hinton et al. 2015, section 2.1).

    The factor keeps the size of the gradient, which would shrink as 1 / t^2 without it.
    """
    return temperature**2 * divergence(teacher, student, temperature)


def margin(logits: Logits, y: Labels) -> PerExample:
    """The label's score less the highest other score; below zero the example is misclassified.

    The label is masked by minus infinity. Masking by zero, a known error of public code, makes the
    attack a no-op wherever all other scores are negative.
    """
    label_score = logits.gather(1, y[:, None]).squeeze(1)
    return label_score - logits.scatter(1, y[:, None], -torch.inf).amax(1)


def target_margin(logits: Logits, target: Labels) -> PerExample:
    """The target's score less the highest other score; above zero the target is predicted."""
    return margin(logits, target)


def difference_ratio(logits: Logits, y: Labels) -> PerExample:
    """DLR, untargeted: -(z_y - max_other) / (z_(1) - z_(3)) (Croce & Hein 2020, eq. 6).

    It needs three classes; with two the denominator falls back to z_(1) - z_(2).
    """
    ordered = logits.sort(1, descending=True).values
    third = ordered[:, min(2, logits.shape[1] - 1)]
    return -margin(logits, y) / (ordered[:, 0] - third).clamp_min(1e-12)


def targeted_difference_ratio(logits: Logits, y: Labels, target: Labels) -> PerExample:
    """DLR, targeted: -(z_y - z_t) / (z_(1) - (z_(3) + z_(4)) / 2) (Croce & Hein 2020, eq. 7).

    The paper needs four classes. Below four, the missing ranks take the lowest score, so that the
    ratio stays invariant to shift and scale.
    """
    ordered = logits.sort(1, descending=True).values
    last = logits.shape[1] - 1
    low = (ordered[:, min(2, last)] + ordered[:, min(3, last)]) / 2
    label_score = logits.gather(1, y[:, None]).squeeze(1)
    target_score = logits.gather(1, target[:, None]).squeeze(1)
    return -(label_score - target_score) / (ordered[:, 0] - low).clamp_min(1e-12)
