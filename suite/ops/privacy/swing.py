"""Swing distillation: a temperature for each token, so that private tokens get flat targets.

The public abstract (Li et al. 2022, arXiv 2212.08349) says that the temperature follows how likely
a token is private, and that noise is added to soft targets. The formulas are ours where it is
silent.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from robustbench_kd.core.tensor_types import Logits, PerExample


def token_temperatures(private: PerExample, base: float, peak: float) -> PerExample:
    """Linear from ``base`` where a token is certainly public to ``peak`` where it is private."""
    return base + (peak - base) * private


def soft_targets(
    teacher: Logits,
    temperature: PerExample,
    private: PerExample,
    scale: float,
    noise: torch.Generator,
) -> Logits:
    """The teacher's probabilities at each token's temperature, with Laplace noise on private ones.

    q' = normalised max(0, q + p eta), where eta is Laplace of this scale for each word and p the
    privacy of the token. Nothing is drawn where the scale is zero.
    """
    q = F.softmax(teacher / temperature[:, None], 1)
    if scale == 0:
        return q
    u = torch.rand(q.shape, generator=noise, dtype=torch.float64).to(q.device) - 0.5
    eta = -scale * u.sign() * torch.log1p(-2 * u.abs().clamp_max(0.5 - 1e-12))
    noisy = (q + private[:, None] * eta.to(q.dtype)).clamp_min(0)
    total = noisy.sum(1, keepdim=True)
    uniform = torch.full_like(q, 1.0 / q.shape[1])  # where the noise leaves no mass at all
    return torch.where(total > 0, noisy / total.clamp_min(1e-12), uniform)


def swing_loss(
    student: Logits, target: Logits, temperature: Tensor | float, scale: Tensor | float
) -> PerExample:
    """scale KL(target || softmax(student / temperature)), in nats.

    The student's temperature is the base everywhere. At the teacher's own high temperature the
    divergence would tend to matching logits, peak and all: it is the target that must be flat.
    """
    q = F.log_softmax(student / temperature, 1)
    negative_entropy = torch.special.xlogy(target, target).sum(1)
    loss: Tensor = scale * (negative_entropy - (target * q).sum(1))
    return loss
