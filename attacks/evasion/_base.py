"""Evasion attacks: test inputs perturbed within a norm ball. What all of them share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch

from robustbench_kd.core.config import Budget, Knowledge, Norm, ThreatModel
from robustbench_kd.core.errors import BadSetting
from robustbench_kd.core.protocols import WhiteBoxModel
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.submissions import AdversarialInputs
from robustbench_kd.core.tensor_types import Images, Labels, PerExample
from robustbench_kd.core.types import PoisonedData, Splits
from robustbench_kd.ops.attacks.pgd import LogitFunction
from robustbench_kd.ops.attacks.targets import Goal

Perturbed = tuple[Images, dict[str, PerExample]]
"""Perturbed inputs, and measurements by example (a number of queries, say); never a verdict."""


@dataclass(frozen=True)
class Evasion(ABC):
    """Leaves the training data as they are, and perturbs the test inputs within a ball.

    A new attack derives from this, sets ``name`` and ``source``, and writes ``perturb``.
    ``adaptive_against`` names the defenses that its paper designed it to break; only against those
    does it count as an adaptive attack.

    Args:
        eps: radius of the ball, in pixel units of [0, 1]; ``norm`` is its kind.
        targeted: ``none``; ``random`` (another class, drawn); ``least-likely`` (the class with the
            lowest score); or the number of a class, which inputs of that class have reached.
        chunk: images attacked at once; part of the settings, since draws depend on it.
    """

    name: ClassVar[str] = ""
    source: ClassVar[str] = ""
    requires: ClassVar[type] = WhiteBoxModel
    norms: ClassVar[tuple[str, ...]] = ("linf", "l2")
    knowledge: ClassVar[Knowledge] = "white_box"
    adaptive_against: ClassVar[tuple[str, ...]] = ()

    eps: float = 0.1
    norm: Norm = "linf"
    targeted: str = "none"
    chunk: int = 500

    def __post_init__(self) -> None:
        Budget(self.norm, self.eps)
        if self.norm not in self.norms:
            raise BadSetting(
                f"{self.name} perturbs within {' or '.join(self.norms)}, not {self.norm}"
            )
        if self.targeted not in ("none", "random", "least-likely") and not self.targeted.isdigit():
            raise BadSetting(
                "targeted must be none, random, least-likely or the number of a class, not "
                f"{self.targeted!r}"
            )
        if self.chunk < 1:
            raise BadSetting(f"chunk must be at least 1, not {self.chunk}")

    @property
    def budget(self) -> Budget:
        return Budget(self.norm, self.eps)

    @property
    def threat(self) -> ThreatModel:
        return ThreatModel("evasion", "test_data", self.knowledge, self.budget)

    def poison(self, data: Splits, seed: Seed) -> PoisonedData[None]:
        """The data as they are."""
        return PoisonedData(data, None)

    def attack(
        self, model: WhiteBoxModel, data: Splits, state: None, seed: Seed
    ) -> AdversarialInputs:
        """The test inputs, each perturbed by at most ``eps``."""
        test = data.test
        inputs, metadata, targets = [], [], []
        for n, part in enumerate(test.inputs.split(self.chunk)):
            y = test.targets[n * self.chunk : n * self.chunk + len(part)]
            goal = self.goal(model.logits, part, y, seed / n / "target")
            z, measured = self.perturb(model.logits, part, goal, seed / n)
            inputs.append(z.detach())
            metadata.append(measured)
            if goal.targets is not None:
                targets.append(goal.targets)
        return AdversarialInputs(
            test.ids,
            torch.cat(inputs),
            torch.cat(targets) if targets else None,
            {name: torch.cat([part[name] for part in metadata]) for name in metadata[0]},
        )

    @abstractmethod
    def perturb(self, logits: LogitFunction, x: Images, goal: Goal, seed: Seed) -> Perturbed:
        """Perturbed inputs, and measurements by example that a record keeps in summary.

        Rows that do not reach the goal may hold anything within the ball.

        Args:
            logits: the model; differentiable in its inputs.
        """

    def goal(self, logits: LogitFunction, x: Images, y: Labels, seed: Seed) -> Goal:
        """Any class but the label, or the target class that the settings name.

        Raises:
            BadSetting: where the target is no class.
        """
        if self.targeted == "none":
            return Goal(y)
        with torch.no_grad():
            scores = logits(x)
        classes = scores.shape[1]
        if self.targeted == "least-likely":
            return Goal(y, scores.scatter(1, y[:, None], torch.inf).argmin(1))
        if self.targeted == "random":
            step = torch.randint(1, classes, (len(y),), generator=seed.generator()).to(y)
            return Goal(y, (y + step) % classes)
        if int(self.targeted) >= classes:
            raise BadSetting(f"there is no class {self.targeted}; the last one is {classes - 1}")
        return Goal(y, torch.full_like(y, int(self.targeted)))
