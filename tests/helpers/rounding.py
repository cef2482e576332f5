"""Comparisons of decisions that batches of another size may round differently."""

from __future__ import annotations

from torch import Tensor

from robustbench_kd.ops.attacks.targets import Goal

ROUNDING = 1e-4  # of a logit; networks compute other last digits for batches of another size


def same_decisions(goal: Goal, scores: Tensor, success: Tensor) -> bool:
    """Whether success is where the goal is reached, wherever its margin exceeds rounding."""
    margin = goal.margin(scores)
    clear = margin.abs() > ROUNDING
    return bool(((margin > 0) == success)[clear].all())
