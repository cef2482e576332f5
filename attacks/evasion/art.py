"""Any evasion of the Adversarial Robustness Toolbox: ``art:HopSkipJump:max_iter=10``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from robustbench_kd.attacks.evasion._external import ExternalAttack, Library
from robustbench_kd.integrations import art


@dataclass(frozen=True)
class ART(ExternalAttack):
    """The toolbox of Nicolae and others; needs the extra ``bridges``."""

    name: ClassVar[str] = "art"
    source: ClassVar[str] = "Nicolae et al. 2018, Adversarial Robustness Toolbox v1.2.0"
    library: ClassVar[Library] = art
