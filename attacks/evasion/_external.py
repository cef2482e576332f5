"""What the attacks of other libraries share: they come by the name of a class, through a bridge."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol

import torch

from robustbench_kd.attacks.evasion._base import Ask, Evasion, Found
from robustbench_kd.core.config import Budget
from robustbench_kd.core.options import configure, parse
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.tensor_types import Images
from robustbench_kd.core.types import Threat
from robustbench_kd.integrations._adapter import taken
from robustbench_kd.ops.attacks.targets import Goal

OURS = ("eps", "norm", "targeted", "chunk")


class Bridge(Protocol):
    """What the module of a bridge offers."""

    def check(self, attack: str, settings: str, budget: Budget) -> None: ...
    def sees(self, attack: str) -> Literal["weights", "scores", "answers"]: ...
    def run(
        self,
        attack: str,
        settings: str,
        logits: Ask,
        x: torch.Tensor,
        goal: Goal,
        budget: Budget,
        seed: Seed,
    ) -> torch.Tensor: ...


@dataclass(frozen=True)
class Borrowed(Evasion):
    """The library's attack of the class ``attack``, with ``settings`` for its constructor.

    It gets our radius, norm, targets and seed wherever it takes them. What it finds is drawn into
    the ball; the note ``norm`` keeps what it needed.
    """

    bridge: ClassVar[Bridge]

    attack: str = ""
    settings: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.bridge.check(self.attack, self.settings, self.budget)

    @classmethod
    def from_text(cls, attack: str, text: str, /, **defaults: Any) -> Borrowed:
        """From the name of a class and settings as typed, ``("MIFGSM", "steps=20,eps=8/255")``.

        ``eps``, ``norm``, ``targeted`` and ``chunk`` are ours, all others the library's;
        ``defaults`` fill what of ours was not given.

        Raises:
            UnknownName: for a class that the library does not have.
            BadSetting: for an argument that it does not take, or a ball that it does not know.
        """
        given = parse(text)
        ours = {name: given.pop(name) for name in OURS if name in given}
        theirs = ",".join(f"{name}={value}" for name, value in given.items())
        return configure(cls, {**ours, "attack": attack, "settings": theirs}, **defaults)

    @property
    def threat(self) -> Threat:
        return Threat("evade", "input", self.bridge.sees(self.attack), self.budget)

    def perturb(self, logits: Ask, x: Images, goal: Goal, seed: Seed) -> Found:
        z = self.bridge.run(self.attack, self.settings, logits, x, goal, self.budget, seed)
        found, norm = taken(z, logits, x, goal, self.budget)
        return found, {"norm": norm}
