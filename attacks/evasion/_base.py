"""Evasion: inputs moved a little after training. What all of these attacks share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch

from robustbench_kd.core.config import Budget, Norm
from robustbench_kd.core.errors import BadSetting
from robustbench_kd.core.protocols import WhiteBox
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.tensor_types import Images, Labels, Logits, PerExample
from robustbench_kd.core.types import Splits, Submission, Tainted, Threat
from robustbench_kd.ops.attacks.targets import Goal

Ask = Callable[[Images], Logits]
Found = tuple[Images, dict[str, PerExample]]


@dataclass(frozen=True)
class Evasion(ABC):
    """Hands the data back untouched, then moves the test inputs within a ball.

    A new attack derives from this, sets ``name`` and ``source``, and writes ``perturb``.
    ``made_for`` names the defenses that its paper made it to break: only for those is it adaptive.

    Args:
        eps: radius of the ball, in pixel units of [0, 1]; ``norm`` is its kind.
        targeted: ``none``; ``random`` (another class, drawn); ``least-likely`` (the class with the
            lowest score); or the number of a class, whose own inputs have nothing to win.
        chunk: images attacked at once; part of the settings, since draws depend on it.
    """

    name: ClassVar[str] = ""
    source: ClassVar[str] = ""
    meets: ClassVar[type] = WhiteBox
    norms: ClassVar[tuple[str, ...]] = ("linf", "l2")
    sight: ClassVar[Literal["weights", "scores", "answers"]] = "weights"
    made_for: ClassVar[tuple[str, ...]] = ()

    eps: float = 0.1
    norm: Norm = "linf"
    targeted: str = "none"
    chunk: int = 500

    def __post_init__(self) -> None:
        Budget(self.norm, self.eps)
        if self.norm not in self.norms:
            raise BadSetting(f"{self.name} knows only {', '.join(self.norms)}, not {self.norm}")
        if self.targeted not in ("none", "random", "least-likely") and not self.targeted.isdigit():
            raise BadSetting(
                f"targeted must be none, random, least-likely or a class, not {self.targeted!r}"
            )
        if self.chunk < 1:
            raise BadSetting(f"chunk must be at least 1, not {self.chunk}")

    @property
    def budget(self) -> Budget:
        return Budget(self.norm, self.eps)

    @property
    def threat(self) -> Threat:
        return Threat("evade", "input", self.sight, self.budget)

    def before(self, data: Splits, seed: Seed) -> Tainted[None]:
        """An evasion leaves the training data alone."""
        return Tainted(data, None)

    def after(self, subject: WhiteBox, data: Splits, secret: None, seed: Seed) -> Submission:
        """The test inputs, each moved by at most ``eps``."""
        test = data.test
        inputs, notes, wanted = [], [], []
        for n, part in enumerate(test.inputs.split(self.chunk)):
            y = test.targets[n * self.chunk : n * self.chunk + len(part)]
            goal = self.goal(subject.logits, part, y, seed / n / "target")
            z, note = self.perturb(subject.logits, part, goal, seed / n)
            inputs.append(z.detach())
            notes.append(note)
            if goal.targets is not None:
                wanted.append(goal.targets)
        merged = {key: torch.cat([note[key] for note in notes]) for key in notes[0]}
        return Submission(
            test.ids, torch.cat(inputs), torch.cat(wanted) if wanted else None, merged
        )

    @abstractmethod
    def perturb(self, logits: Ask, x: Images, goal: Goal, seed: Seed) -> Found:
        """Moved inputs, and measurements by example to keep beside the verdict.

        Rows that were not won may hold anything within the ball.
        """

    def goal(self, logits: Ask, x: Images, y: Labels, seed: Seed) -> Goal:
        """What to reach: any other class, or the target that the settings name."""
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
