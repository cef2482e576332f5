"""Several attacks on one training set: all plant in turn, and each remembers its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from robustbench_kd.core.protocols import AnyAttack, Implants, Tells
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.types import Exhibit, Splits, Tainted, Threat


@dataclass(frozen=True)
class Together:
    """The attacks of a board that tries them on one student. What each remembers bears its name."""

    attacks: tuple[AnyAttack, ...]

    @property
    def name(self) -> str:
        """``canary+membership``."""
        return "+".join(attack.name for attack in self.attacks)

    @property
    def source(self) -> str:
        """Where each comes from."""
        return "; ".join(attack.source for attack in self.attacks)

    @property
    def meets(self) -> type:
        """What the first attack meets; whoever asks, asks each of them."""
        met: type = self.attacks[0].meets
        return met

    @property
    def threat(self) -> Threat:
        """That of the first."""
        threat: Threat = self.attacks[0].threat
        return threat

    def before(self, data: Splits, seed: Seed) -> Tainted[Mapping[str, Tensor]]:
        """The training set after all of them; ``planted`` are the ids of all copies."""
        secrets: dict[str, Tensor] = {}
        for attack in self.attacks:
            tainted = attack.before(data, seed / attack.name)
            data = tainted.data
            secrets |= {f"{attack.name}.{key}": value for key, value in tainted.secret.items()}
        planted = [value for key, value in secrets.items() if key.endswith(".planted")]
        nothing = torch.zeros(0, dtype=torch.int64)
        return Tainted(data, {**secrets, "planted": torch.cat([nothing, *planted])})

    def after(
        self, subject: object, data: Splits, secret: Mapping[str, Tensor], seed: Seed
    ) -> Exhibit:
        """What the first hands in."""
        first = self.attacks[0]
        exhibit: Exhibit = first.after(subject, data, own(secret, first.name), seed / first.name)
        return exhibit


def implanting(attack: object) -> Implants | None:
    """The attack, or the one among several, that changes the network itself."""
    return next((part for part in _parts(attack) if isinstance(part, Implants)), None)


def telling(attack: object) -> Tells | None:
    """The attack, or the first among several, that has something to tell an oracle."""
    return next((part for part in _parts(attack) if isinstance(part, Tells)), None)


def _parts(attack: object) -> Sequence[object]:
    return attack.attacks if isinstance(attack, Together) else (attack,)


def own(secret: Mapping[str, Tensor], name: str) -> Mapping[str, Tensor]:
    """What the attack of this name remembers."""
    return {
        key.removeprefix(f"{name}."): value
        for key, value in secret.items()
        if key.startswith(f"{name}.")
    }
