"""Perturbations as small integers, so that the stored input is exactly the scored one.

A submitted input is encoded and decoded before the scorer queries the model on it. The decoded
input lies in the ball and in the box by construction.
"""

from __future__ import annotations

import torch
from torch import Tensor

from robustbench_kd.core.config import Budget
from robustbench_kd.core.tensor_types import Images


def encode(z: Images, x: Images, budget: Budget) -> Tensor:
    """The perturbation in steps of amount / 127 as int8 (Linf), or of amount / 32767 as int16 (L2).

    L2 codes are truncated towards zero, since rounding up could leave the ball.
    """
    if budget.amount == 0:
        return torch.zeros_like(x, dtype=torch.int8 if budget.kind == "linf" else torch.int16)
    fraction = (z - x) / budget.amount
    if budget.kind == "linf":
        return (fraction * 127).round().clamp(-127, 127).to(torch.int8)
    return (fraction * 32767).trunc().clamp(-32767, 32767).to(torch.int16)


def decode(codes: Tensor, x: Images, budget: Budget) -> Images:
    """The inputs that these codes represent."""
    levels = 127 if budget.kind == "linf" else 32767
    return (x + codes.to(x) * (budget.amount / levels)).clamp(0, 1)
