"""Any attack of torchattacks by the name of its class: ``torchattacks:MIFGSM:steps=20``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from robustbench_kd.attacks.evasion._external import ExternalAttack, Library
from robustbench_kd.integrations import torchattacks


@dataclass(frozen=True)
class TorchAttacks(ExternalAttack):
    """Kim's library; needs the extra ``bridges``."""

    name: ClassVar[str] = "torchattacks"
    source: ClassVar[str] = "Kim 2020, Torchattacks: a PyTorch repository for adversarial attacks"
    library: ClassVar[Library] = torchattacks
