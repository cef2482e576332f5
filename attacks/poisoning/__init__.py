"""Poisoning attacks, and the base classes for new ones."""

from robustbench_kd.attacks._poison import AttackState
from robustbench_kd.attacks.poisoning._base import PoisoningAttack, TargetedPoisoning
from robustbench_kd.attacks.poisoning._surrogates import SurrogatePoisoning

__all__ = ["AttackState", "PoisoningAttack", "SurrogatePoisoning", "TargetedPoisoning"]
