"""Evasion attacks, and the base class and types for new ones."""

from robustbench_kd.attacks.evasion._base import Evasion, Perturbed
from robustbench_kd.ops.attacks.pgd import LogitFunction
from robustbench_kd.ops.attacks.targets import Goal

__all__ = ["Evasion", "Goal", "LogitFunction", "Perturbed"]
