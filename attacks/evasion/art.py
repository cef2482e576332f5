"""Any evasion of the Adversarial Robustness Toolbox: ``art:HopSkipJump:max_iter=10``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from robustbench_kd.attacks.evasion._external import Borrowed, Bridge
from robustbench_kd.integrations import art


@dataclass(frozen=True)
class ART(Borrowed):
    """The toolbox of Nicolae and others; needs the extra ``bridges``."""

    name: ClassVar[str] = "art"
    source: ClassVar[str] = "Nicolae et al. 2018, Adversarial Robustness Toolbox v1.2.0"
    bridge: ClassVar[Bridge] = art
