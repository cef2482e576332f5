"""Backdoor attacks, and the base class for new ones."""

from robustbench_kd.attacks._poison import AttackState
from robustbench_kd.attacks.backdoor._base import Backdoor
from robustbench_kd.attacks.backdoor._cover_samples import BackdoorWithCovers

__all__ = ["AttackState", "Backdoor", "BackdoorWithCovers"]
