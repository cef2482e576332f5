"""Attacks of other libraries, by the name of their class, through an integration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import torch

from robustbench_kd.attacks.evasion._base import Evasion, Perturbed
from robustbench_kd.core.config import Budget, Knowledge, ThreatModel
from robustbench_kd.core.options import configure, parse
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.tensor_types import Images
from robustbench_kd.integrations._adapter import project_result
from robustbench_kd.ops.attacks.pgd import LogitFunction
from robustbench_kd.ops.attacks.targets import Goal

OURS = ("eps", "norm", "targeted", "chunk")


class Library(Protocol):
    """What the module of an integration offers."""

    def check(self, attack: str, settings: str, budget: Budget) -> None: ...
    def knowledge(self, attack: str) -> Knowledge: ...
    def run(
        self,
        attack: str,
        settings: str,
        logits: LogitFunction,
        x: torch.Tensor,
        goal: Goal,
        budget: Budget,
        seed: Seed,
    ) -> torch.Tensor: ...


@dataclass(frozen=True)
class ExternalAttack(Evasion):
    """The library's attack of the class ``class_name``, with ``settings`` for its constructor.

    It gets our radius, norm, targets and seed wherever it takes them. Its result is projected into
    the ball; the metadata ``norm`` are its norms before that, infinite where it misses the goal.
    """

    library: ClassVar[Library]

    class_name: str = ""
    settings: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.library.check(self.class_name, self.settings, self.budget)

    @classmethod
    def from_text(cls, class_name: str, text: str, /, **defaults: Any) -> ExternalAttack:
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
        return configure(cls, {**ours, "class_name": class_name, "settings": theirs}, **defaults)

    @property
    def threat(self) -> ThreatModel:
        return ThreatModel(
            "evasion", "test_data", self.library.knowledge(self.class_name), self.budget
        )

    def perturb(self, logits: LogitFunction, x: Images, goal: Goal, seed: Seed) -> Perturbed:
        z = self.library.run(self.class_name, self.settings, logits, x, goal, self.budget, seed)
        projected, norm = project_result(z, logits, x, goal, self.budget)
        return projected, {"norm": norm}
