"""What all distillation defenses, their controls and the repairs of given models share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from robustbench_kd.core.config import Budget, Schedule
from robustbench_kd.core.errors import BadSetting, MissingData
from robustbench_kd.core.protocols import TrainingContext
from robustbench_kd.core.tensor_types import Images, Logits, PerExample
from robustbench_kd.core.types import Examples
from robustbench_kd.ops.attacks.pgd import worst_case
from robustbench_kd.training.trainer import Objective, fit


@dataclass(frozen=True)
class Recipe(ABC):
    """A defense that trains a fresh student by one loss.

    A new defense derives from this, sets ``name``, ``source`` and ``formula``, and writes ``loss``;
    one that is more than a loss writes ``train`` instead. ``modalities`` are the kinds of data that
    it can train on: images, text, text-to-image.

    In formulas S is the student, T_r and T_c the robust and the clean teacher, x' the inner
    attack's input, KL(P || Q) the divergence from the target P, and CE the cross-entropy.
    """

    name: ClassVar[str] = ""
    source: ClassVar[str] = ""
    formula: ClassVar[str] = ""
    starts_from: ClassVar[str] = "fresh"
    net: ClassVar[str] = "plain"
    modalities: ClassVar[tuple[str, ...]] = ("images",)

    @property
    def teacher_roles(self) -> tuple[str, ...]:
        """The roles of its teachers."""
        return ()

    @abstractmethod
    def loss(self, context: TrainingContext) -> Objective:
        """The loss of a batch, as a function of the student."""

    def train(self, context: TrainingContext) -> nn.Module:
        """Trains the student of the context by the loss."""
        return fit(
            context.student,
            context.data,
            self.loss(context),
            context.schedule,
            context.seed / "student",
            context.progress,
        )


@dataclass(frozen=True)
class AdversarialRecipe(Recipe):
    """A recipe with an inner attack of ``steps`` steps, each of ``stride`` times the radius.

    The literature's ten steps of a quarter of the radius are halved here, for training on a CPU.
    """

    steps: int = 5
    stride: float = 0.25

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise BadSetting(f"{self.name} needs at least one inner step, not {self.steps}")
        if not 0 < self.stride <= 1:
            raise BadSetting(f"stride is a share of the radius in (0, 1], not {self.stride:g}")

    def inner_attack(
        self,
        student: nn.Module,
        x: Images,
        budget: Budget,
        score: Callable[[Logits, Images], PerExample],
        start: Images,
    ) -> Images:
        """Inputs in the ball around ``x`` that maximise a score of the student's logits."""
        return worst_case(
            student, x, budget, score, steps=self.steps, stride=self.stride, start=start
        )


@dataclass(frozen=True)
class Repair(ABC):
    """A defense that repairs a copy of a given, possibly poisoned model.

    A repair may use ``context.trusted`` alone: the few clean examples that the defender vouches
    for. A new repair derives from this, sets ``name``, ``source`` and ``formula``, and writes
    ``train``; it leaves ``context.teachers["given"]`` unchanged.
    """

    name: ClassVar[str] = ""
    source: ClassVar[str] = ""
    formula: ClassVar[str] = ""
    starts_from: ClassVar[str] = "given"
    net: ClassVar[str] = "given"
    modalities: ClassVar[tuple[str, ...]] = ("images",)

    @property
    def teacher_roles(self) -> tuple[str, ...]:
        """The model to repair."""
        return ("given",)

    @abstractmethod
    def train(self, context: TrainingContext) -> nn.Module:
        """The repaired copy."""


@dataclass(frozen=True)
class FineTuningRepair(Repair):
    """A repair by further training. The schedule of the context is for training from scratch.

    Args:
        rate: the peak of the learning rate. A small one leaves the backdoor in place.
        shift: images are moved by up to so many pixels along both axes.
    """

    epochs: int = 20
    batch: int = 64
    rate: float = 0.05
    shift: int = 2

    def __post_init__(self) -> None:
        check_range("shift", self.shift, 0, 8)
        self.schedule(self.epochs)

    def schedule(self, epochs: int) -> Schedule:
        """The schedule of so many epochs."""
        return Schedule(epochs=epochs, batch=self.batch, learning_rate=self.rate)


def trusted_examples(context: TrainingContext) -> Examples:
    """The clean examples that the defender vouches for.

    Raises:
        MissingData: where there are none.
    """
    if context.trusted is None or len(context.trusted) == 0:
        raise MissingData("a repair needs trusted images, and this training context holds none")
    return context.trusted


def check_range(name: str, value: float, low: float, high: float) -> None:
    """Refuses a setting outside of [low, high].

    Raises:
        BadSetting: with the range.
    """
    if not low <= value <= high:
        raise BadSetting(f"{name} must lie in [{low:g}, {high:g}], not {value:g}")
