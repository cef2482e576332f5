"""The nouns: what a subject, an attack, a defense and a scenario must offer, and nothing more."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor, nn

from robustbench_kd.core.config import Budget, Schedule
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.tensor_types import Logits, Mask, PerExample
from robustbench_kd.core.types import Examples, Exhibit, Splits, Tainted, Threat

V_contra = TypeVar("V_contra", contravariant=True)
S = TypeVar("S")


@runtime_checkable
class Subject(Protocol):
    """A trained model, seen only through what can be asked of it."""

    def answer(self, inputs: Tensor) -> Tensor:
        """What it says: a label, a continuation, an image."""
        ...

    def surprise(self, examples: Examples) -> PerExample:
        """How little it expected these targets, in nats."""
        ...


@runtime_checkable
class WhiteBox(Subject, Protocol):
    """A subject whose scores can be differentiated."""

    def logits(self, inputs: Tensor) -> Logits:
        """Scores by class, differentiable in the inputs."""
        ...


@runtime_checkable
class Speaker(Subject, Protocol):
    """A subject that goes on token by token, so that what it knows by heart can be read off."""

    def answer(self, inputs: Tensor, noise: torch.Generator | None = None) -> Tensor:
        """How it goes on, greedily, or as it may, where there is a source of noise."""
        ...

    def tokens(self, examples: Examples) -> Tokens:
        """What it says of every single token."""
        ...

    def ranks(self, examples: Examples, seed: Seed) -> Sequence[Standing]:
        """Where each secret stands among all that could stand in its place."""
        ...

    def beams(self, examples: Examples, width: int) -> list[int]:
        """Which of its likeliest continuations the secret is, from 1; 0 where it is none."""
        ...

    def spoken(self, examples: Examples) -> list[bytes]:
        """The text of each row."""
        ...


class Standing(Protocol):
    """A rank: 1 is best, ``ties`` are counted in, ``of`` are the candidates."""

    @property
    def value(self) -> float: ...
    @property
    def ties(self) -> int: ...
    @property
    def of(self) -> int: ...
    @property
    def estimator(self) -> str: ...


@dataclass(frozen=True)
class Tokens:
    """What a model says of each asked token [b, t], in nats.

    ``logp`` is its log-probability, ``mean`` and ``deviation`` those of the log-probability of a
    token that is drawn from the model; ``asked`` marks the tokens in question.
    """

    logp: Tensor
    mean: Tensor
    deviation: Tensor
    asked: Tensor


@runtime_checkable
class Attack(Protocol[V_contra, S]):
    """An adversary acts on the data before training and on the subject after; ``S`` in between."""

    name: ClassVar[str]
    source: ClassVar[str]
    meets: ClassVar[type]

    @property
    def threat(self) -> Threat: ...
    def before(self, data: Splits, seed: Seed) -> Tainted[S]: ...
    def after(self, subject: V_contra, data: Splits, secret: S, seed: Seed) -> Exhibit: ...


@runtime_checkable
class Fits(Protocol):
    """An attack on training data that can tell beforehand, at no cost, whether they can bear it."""

    def fits(self, train: Examples) -> None:
        """Refuses settings that these data cannot bear."""
        ...


@runtime_checkable
class Rehearses(Protocol):
    """An attack that asks networks of its own beforehand, trained without what was planted."""

    @property
    def shadows(self) -> int:
        """How many of them."""
        ...

    def rehearse(
        self, shadows: Sequence[Subject], data: Splits, secret: Mapping[str, Tensor]
    ) -> Mapping[str, Tensor]:
        """What it remembers, with what they said."""
        ...


@runtime_checkable
class Implants(Protocol):
    """An attack that hands over a changed network in place of the clean teacher."""

    def implant(
        self, net: nn.Module, data: Splits, seed: Seed, progress: Progress
    ) -> nn.Module: ...


@runtime_checkable
class Tells(Protocol):
    """An attack that can say what an oracle would know of it."""

    def tell(self, data: Splits, seed: Seed) -> Examples:
        """What was planted; or inputs with what is hidden in them, and what they should be."""
        ...


@runtime_checkable
class Prompts(Protocol):
    """An attack by what a model is asked in words."""

    def questions(self, prompts: Tensor) -> tuple[Tensor, Tensor]:
        """What it asks in place of these test prompts: without its trigger, and with it."""
        ...


@runtime_checkable
class Progress(Protocol):
    """Where a long run says how far it is, and where it can be taken up again."""

    def load(self, key: str) -> dict[str, Any] | None: ...
    def save(self, key: str, state: dict[str, Any]) -> None: ...
    def tell(self, key: str, done: int, total: int, note: str) -> None: ...


class Silent:
    """Progress that nobody follows and nothing keeps."""

    def load(self, key: str) -> dict[str, Any] | None:
        return None

    def save(self, key: str, state: dict[str, Any]) -> None: ...
    def tell(self, key: str, done: int, total: int, note: str) -> None: ...


@dataclass(frozen=True)
class Brief:
    """All that a defender may use: data, teachers by role, a student to train, and the radius.

    ``validation`` is for choices among students; only defenses that choose need it. ``trusted``
    is a small set of clean examples that the defender vouches for; repairs live on it. ``told`` is
    what an oracle knows of the planted examples, and ``pieces`` turns tokens to text.
    """

    data: Examples
    teachers: Mapping[str, nn.Module]
    student: nn.Module
    budget: Budget
    schedule: Schedule
    seed: Seed
    told: Examples | None = None
    pieces: Callable[[Tensor], list[str]] | None = None
    validation: Examples | None = None
    trusted: Examples | None = None
    progress: Progress = Silent()


@runtime_checkable
class Defense(Protocol):
    """Turns a brief into a student.

    ``needs`` names the teachers by role, ``net`` the kind of student, ``formula`` the loss.
    """

    name: ClassVar[str]
    source: ClassVar[str]
    formula: ClassVar[str]
    starts_from: ClassVar[str]
    net: ClassVar[str]

    @property
    def needs(self) -> tuple[str, ...]: ...
    def harden(self, brief: Brief) -> nn.Module: ...


@runtime_checkable
class RaisesFamily(Protocol):
    """A defense whose one training serves many students: the family is kept, students are cut."""

    def family_settings(self) -> dict[str, Any]:
        """The settings that decide the training; the others only choose from it."""
        ...

    def check(self, student: nn.Module) -> None:
        """Refuses a choice that no student of the family meets, before anything is spent."""
        ...

    def raise_family(self, brief: Brief) -> nn.Module: ...

    def choose(self, family: nn.Module, brief: Brief) -> tuple[nn.Module, str]:
        """The student, and the name that its network is built by."""
        ...


@runtime_checkable
class Scenario(Protocol):
    """The ground: data, networks, and when two answers agree.

    ``edition`` is the digest of the training data, ``nets`` names the network of the teachers and
    of each kind of student, ``teaching`` holds the schedule of each teacher by role.
    """

    name: ClassVar[str]
    teaching: ClassVar[dict[str, Schedule]]

    @property
    def edition(self) -> str: ...
    @property
    def nets(self) -> dict[str, str]: ...
    def splits(self, seed: Seed, *, whole: bool) -> Splits:
        """All of the data, or (``whole=False``) only the test slice that ships with the package."""
        ...

    def student(self, kind: str, seed: Seed) -> nn.Module: ...
    def teacher(
        self,
        role: str,
        data: Examples,
        seed: Seed,
        progress: Progress,
        schedule: Schedule | None = None,
    ) -> nn.Module:
        """Trained by the schedule of its role, unless another is given."""
        ...

    def subject(self, net: nn.Module) -> Subject: ...
    def agree(self, answers: Tensor, wanted: Tensor) -> Mask: ...


@dataclass(frozen=True)
class Case:
    """What the judge looks things up in: its own clean copy, never the adversary's."""

    threat: Threat
    scenario: Scenario
    data: Splits
    learned: object = None


AnyAttack = Attack[Any, Any]
