"""What a model, an attack, a defense and a scenario must offer, and nothing more."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor, nn

from robustbench_kd.core.config import Budget, Schedule, ThreatModel
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.submissions import Submission
from robustbench_kd.core.tensor_types import Logits, Mask, PerExample
from robustbench_kd.core.types import Examples, PoisonedData, Splits

V_contra = TypeVar("V_contra", contravariant=True)
S = TypeVar("S")


@runtime_checkable
class TargetModel(Protocol):
    """A trained model, seen only through the queries that it answers."""

    def answer(self, inputs: Tensor) -> Tensor:
        """Its output: a label, a continuation, an image."""
        ...

    def example_losses(self, examples: Examples) -> PerExample:
        """The negative log-likelihood of each example's targets, in nats."""
        ...


@runtime_checkable
class WhiteBoxModel(TargetModel, Protocol):
    """A model whose scores can be differentiated."""

    def logits(self, inputs: Tensor) -> Logits:
        """Scores by class, differentiable in the inputs."""
        ...


@runtime_checkable
class LanguageModel(TargetModel, Protocol):
    """A model that continues text token by token, so that memorised text can be measured."""

    def answer(self, inputs: Tensor, noise: torch.Generator | None = None) -> Tensor:
        """Its continuations: greedy ones, or sampled ones where ``noise`` is given."""
        ...

    def tokens(self, examples: Examples) -> Tokens:
        """The log-probabilities of every single token."""
        ...

    def ranks(self, examples: Examples, seed: Seed) -> Sequence[SecretRank]:
        """The rank of each secret among all candidates."""
        ...

    def beams(self, examples: Examples, width: int) -> list[int]:
        """The place of the secret among the likeliest continuations, from 1; 0 where it is none."""
        ...

    def spoken(self, examples: Examples) -> list[bytes]:
        """The text of each row."""
        ...


class SecretRank(Protocol):
    """A rank: 1 is the likeliest, ``ties`` are counted in, ``of`` is the number of candidates."""

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
    """Log-probabilities of each scored token [b, t], in nats.

    ``logp`` is the token's own, ``mean`` and ``deviation`` those of the log-probability of a token
    drawn from the model; ``asked`` marks the tokens that are scored.
    """

    logp: Tensor
    mean: Tensor
    deviation: Tensor
    asked: Tensor


@runtime_checkable
class Attack(Protocol[V_contra, S]):
    """An adversary acts on the data before training and on the model after; ``S`` in between.

    ``requires`` is the protocol that the target model must meet.
    """

    name: ClassVar[str]
    source: ClassVar[str]
    requires: ClassVar[type]

    @property
    def threat(self) -> ThreatModel: ...
    def poison(self, data: Splits, seed: Seed) -> PoisonedData[S]: ...
    def attack(self, model: V_contra, data: Splits, state: S, seed: Seed) -> Submission: ...


@runtime_checkable
class ValidatesData(Protocol):
    """An attack on training data that can refuse data beforehand, at no cost."""

    def validate_data(self, train: Examples) -> None:
        """Refuses settings that these data do not allow."""
        ...


@runtime_checkable
class NeedsShadowModels(Protocol):
    """An attack that queries models of its own beforehand, trained without the poison."""

    @property
    def shadows(self) -> int:
        """How many of them."""
        ...

    def query_shadow_models(
        self, shadows: Sequence[TargetModel], data: Splits, state: Mapping[str, Tensor]
    ) -> Mapping[str, Tensor]:
        """The attack's state with the answers of the shadow models in it."""
        ...


@runtime_checkable
class EditsModel(Protocol):
    """An attack that supplies a changed network in place of the clean teacher."""

    def edit_model(
        self, net: nn.Module, data: Splits, seed: Seed, progress: Progress
    ) -> nn.Module: ...


@runtime_checkable
class ProvidesOracle(Protocol):
    """An attack that can say what an oracle defense would know of it."""

    def oracle_examples(self, data: Splits, seed: Seed) -> Examples:
        """The poison; or inputs with their triggers, and what they should be answered as."""
        ...


@runtime_checkable
class Prompts(Protocol):
    """An attack through prompts."""

    def prompts(self, prompts: Tensor) -> tuple[Tensor, Tensor]:
        """Its queries in place of these test prompts: without the trigger, and with it."""
        ...


@runtime_checkable
class Progress(Protocol):
    """Where a long training reports how far it is, and where it can be resumed from."""

    def load(self, key: str) -> dict[str, Any] | None: ...
    def save(self, key: str, state: dict[str, Any]) -> None: ...
    def report(self, key: str, done: int, total: int, note: str) -> None: ...


class Silent:
    """Progress that nobody follows and nothing keeps."""

    def load(self, key: str) -> dict[str, Any] | None:
        return None

    def save(self, key: str, state: dict[str, Any]) -> None: ...
    def report(self, key: str, done: int, total: int, note: str) -> None: ...


@dataclass(frozen=True)
class TrainingContext:
    """All that a defender may use: data, teachers by role, a student to train, and the budget.

    Attributes:
        validation: for choices among students; only defenses that choose need it.
        trusted: a small set of clean examples that the defender vouches for; repairs use it alone.
        oracle: what an oracle defense knows of the poison.
        detokenize: turns tokens to text.
    """

    data: Examples
    teachers: Mapping[str, nn.Module]
    student: nn.Module
    budget: Budget
    schedule: Schedule
    seed: Seed
    oracle: Examples | None = None
    detokenize: Callable[[Tensor], list[str]] | None = None
    validation: Examples | None = None
    trusted: Examples | None = None
    progress: Progress = Silent()


@runtime_checkable
class Defense(Protocol):
    """Turns a training context into a student.

    ``teacher_roles`` names the teachers, ``net`` the kind of student, ``formula`` the loss.
    """

    name: ClassVar[str]
    source: ClassVar[str]
    formula: ClassVar[str]
    starts_from: ClassVar[str]
    net: ClassVar[str]

    @property
    def teacher_roles(self) -> tuple[str, ...]: ...
    def train(self, context: TrainingContext) -> nn.Module: ...


@runtime_checkable
class TrainsSupernet(Protocol):
    """A defense that trains one supernet, from which many students are cut."""

    def supernet_settings(self) -> dict[str, Any]:
        """The settings that decide the training; the others only choose a subnet."""
        ...

    def check(self, student: nn.Module) -> None:
        """Refuses a choice that no subnet meets, before anything is spent."""
        ...

    def train_supernet(self, context: TrainingContext) -> nn.Module: ...

    def choose(self, supernet: nn.Module, context: TrainingContext) -> tuple[nn.Module, str]:
        """The student, and the name that its network is built by."""
        ...


@runtime_checkable
class Scenario(Protocol):
    """Data, networks, and when two answers agree.

    ``dataset_digest`` is the digest of the training data, ``architectures`` names the network of
    the teachers and of each kind of student, ``teacher_schedules`` holds the schedule of each
    teacher by role.
    """

    name: ClassVar[str]
    teacher_schedules: ClassVar[dict[str, Schedule]]

    @property
    def dataset_digest(self) -> str: ...
    @property
    def architectures(self) -> dict[str, str]: ...
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
        """A teacher trained by the schedule of its role, unless another is given."""
        ...

    def target_model(self, net: nn.Module) -> TargetModel: ...
    def agree(self, answers: Tensor, targets: Tensor) -> Mask: ...


@dataclass(frozen=True)
class ScoringContext:
    """What a scorer looks things up in: its own clean copy of the data, never the adversary's.

    ``repetitions`` holds how often each sample was inserted in the training data, by its id;
    ``seed`` is for whatever the scorer draws.
    """

    threat: ThreatModel
    scenario: Scenario
    data: Splits
    repetitions: Mapping[int, int] = field(default_factory=dict)
    seed: Seed = Seed()


AnyAttack = Attack[Any, Any]
