"""Perturbations as small whole numbers, so that what is stored is what was judged.

An adversary's input is coded and decoded before the judge asks about it. The decoded input lies in
the ball and in the box by construction.
"""

from __future__ import annotations

import torch
from torch import Tensor

from robustbench_kd.core.config import Budget
from robustbench_kd.core.tensor_types import Images


def encode(z: Images, x: Images, budget: Budget) -> Tensor:
    """Linf: int8 codes of the perturbation in steps of amount / 127. L2: int16, amount / 32767.

    L2 codes are cut towards zero, since rounding up could leave the ball.
    """
    if budget.amount == 0:
        return torch.zeros_like(x, dtype=torch.int8 if budget.kind == "linf" else torch.int16)
    share = (z - x) / budget.amount
    if budget.kind == "linf":
        return (share * 127).round().clamp(-127, 127).to(torch.int8)
    return (share * 32767).trunc().clamp(-32767, 32767).to(torch.int16)


def decode(codes: Tensor, x: Images, budget: Budget) -> Images:
    """The input that these codes stand for."""
    top = 127 if budget.kind == "linf" else 32767
    return (x + codes.to(x) * (budget.amount / top)).clamp(0, 1)
