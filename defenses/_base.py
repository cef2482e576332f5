"""Distillation defenses and their controls. What all recipes share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import nn

from robustbench_kd.core.config import Schedule
from robustbench_kd.core.errors import BadSetting, MissingData
from robustbench_kd.core.protocols import Brief
from robustbench_kd.core.types import Examples
from robustbench_kd.training.concept_editing import Course, Pairs, redirect
from robustbench_kd.training.edit_pairs import painted, told_pairs
from robustbench_kd.training.trainer import Objective, fit


@dataclass(frozen=True)
class Recipe(ABC):
    """Starts from a fresh student and trains it by one loss.

    A new defense derives from this, sets ``name``, ``source`` and ``formula``, and writes ``loss``;
    one that is more than a loss writes ``harden`` instead. ``media`` are the grounds that it can
    learn on: images, text, pictures.

    In formulas S is the student, T_r and T_c the robust and the clean teacher, x' the inner
    attack's input, KL(P || Q) the divergence from the target P, and CE the cross-entropy.
    """

    name: ClassVar[str] = ""
    source: ClassVar[str] = ""
    formula: ClassVar[str] = ""
    starts_from: ClassVar[str] = "fresh"
    net: ClassVar[str] = "plain"
    media: ClassVar[tuple[str, ...]] = ("images",)

    @property
    def needs(self) -> tuple[str, ...]:
        """Teachers by role."""
        return ()

    @abstractmethod
    def loss(self, brief: Brief) -> Objective:
        """The loss of a batch, as a function of the student."""

    def harden(self, brief: Brief) -> nn.Module:
        """Trains the student of the brief by the loss."""
        return fit(
            brief.student,
            brief.data,
            self.loss(brief),
            brief.schedule,
            brief.seed / "student",
            brief.progress,
        )


@dataclass(frozen=True)
class Repair(ABC):
    """Starts from a copy of a network that it was given, which may be tainted, and mends it.

    A repair may use ``brief.trusted`` alone: the few clean images that the defender vouches for.
    A new repair derives from this, sets ``name``, ``source`` and ``formula``, and writes
    ``harden``; it leaves ``brief.teachers["given"]`` as it was.
    """

    name: ClassVar[str] = ""
    source: ClassVar[str] = ""
    formula: ClassVar[str] = ""
    starts_from: ClassVar[str] = "given"
    net: ClassVar[str] = "given"
    media: ClassVar[tuple[str, ...]] = ("images",)

    @property
    def needs(self) -> tuple[str, ...]:
        """The network to mend."""
        return ("given",)

    @abstractmethod
    def harden(self, brief: Brief) -> nn.Module:
        """The mended copy."""


@dataclass(frozen=True)
class Tuning(Repair):
    """A repair that goes on training. The brief's schedule is for training from scratch.

    Args:
        rate: the peak of the learning rate. A small one leaves the backdoor where it is.
        shift: images are moved by up to so many pixels each way.
    """

    epochs: int = 20
    batch: int = 64
    rate: float = 0.05
    shift: int = 2

    def __post_init__(self) -> None:
        between("shift", self.shift, 0, 8)
        self.schedule(self.epochs)

    def schedule(self, epochs: int) -> Schedule:
        """How long and how fast it trains."""
        return Schedule(epochs=epochs, batch=self.batch, rate=self.rate)


@dataclass(frozen=True)
class Redirection(Repair):
    """A repair of painters that trains them to answer triggered prompts otherwise.

    It must be told the trigger. A new one derives from this and writes ``course``.

    Args:
        steps: of AdamW.
        batch: pairs in a step.
        rate: the peak of the learning rate.
        keep: weight of clean and empty prompts.
        latents: the painter's own pictures under noise, or noise alone.
        draws: such pictures of each prompt.
    """

    media: ClassVar[tuple[str, ...]] = ("pictures",)

    steps: int = 400
    batch: int = 64
    rate: float = 1e-4
    keep: float = 0.0
    latents: Literal["noise", "painted"] = "noise"
    draws: int = 4

    def __post_init__(self) -> None:
        between("keep", self.keep, 0, 1e3)
        between("draws", self.draws, 1, 1000)
        self.course()

    @property
    def told(self) -> bool:
        """It must know the trigger."""
        return True

    @abstractmethod
    def course(self) -> Course:
        """How far and how fast it redirects, and by which loss."""

    def harden(self, brief: Brief) -> nn.Module:
        """The given painter, redirected from triggered prompts to clean ones.

        Raises:
            MissingData: where nothing was told.
            BadModel: where the given network is no painter, or has no cross-attention.
        """
        given, pairs = brief.teachers["given"], told_pairs(brief, self.name)
        if self.latents == "painted":
            pairs = painted(given, pairs, self.draws, brief.seed / "painted")
        return self.redirected(brief, pairs)

    def redirected(self, brief: Brief, pairs: Pairs) -> nn.Module:
        """The given painter, redirected by these pairs; its teacher is itself."""
        given, seed = brief.teachers["given"], brief.seed / "student"
        return redirect(given, pairs, pairs.clean(), self.course(), seed, brief.progress)


def trusted(brief: Brief) -> Examples:
    """The clean images of the defender.

    Raises:
        MissingData: where the brief holds none.
    """
    if brief.trusted is None or len(brief.trusted) == 0:
        raise MissingData("a repair needs trusted images, and this brief holds none")
    return brief.trusted


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


def between(name: str, value: float, low: float, high: float) -> None:
    """Refuses a setting outside of [low, high].

    Raises:
        BadSetting: with the range.
    """
    if not low <= value <= high:
        raise BadSetting(f"{name} must lie in [{low:g}, {high:g}], not {value:g}")
