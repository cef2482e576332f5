"""What an adversary hands in. None of it says whether the attack succeeded: a scorer decides.

Each class is what one scorer accepts; a threat of its own brings a class of its own. ``metadata``
are measurements by sample that a record keeps in summary (a step count, say). They are never
verdicts, and a name that a scorer uses for a verdict is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

from torch import Tensor

from robustbench_kd.core.seed import Seed
from robustbench_kd.core.tensor_types import Ids, PerExample
from robustbench_kd.core.types import Examples


@runtime_checkable
class Submission(Protocol):
    """What every submission has: the ids of its samples, once each, and metadata."""

    @property
    def ids(self) -> Ids: ...
    @property
    def metadata(self) -> Mapping[str, PerExample]: ...


@dataclass(frozen=True)
class AdversarialInputs:
    """Inputs that the model is to answer: test inputs moved within a budget, or triggered ones.

    Attributes:
        targets: the answers that the adversary wants; None where any wrong one will do.
    """

    ids: Ids
    inputs: Tensor
    targets: Tensor | None = None
    metadata: Mapping[str, PerExample] = field(default_factory=dict)


@dataclass(frozen=True)
class TextQueries:
    """Prompts for a language model, and the text that the adversary wants in its answers.

    Attributes:
        prompts: [b, t] tokens, filled up with -100 behind the prompt.
        targets: [b, k] tokens of the wanted continuation, filled up with -100.
        match: ``prefix``: the greedy answer starts with the target; ``anywhere``: it contains it.
        likelihood: rows whose scored tokens are the target behind its prompt.
        per_token: whether the likelihood is a mean over tokens instead of a sum.
        beam: width of a beam search for the target; 0 does without.
        draws: sampled answers to every prompt, besides the greedy one.
    """

    ids: Ids
    prompts: Tensor
    targets: Tensor
    match: Literal["prefix", "anywhere"]
    likelihood: Examples
    per_token: bool = False
    beam: int = 0
    draws: int = 0
    seed: Seed = Seed()
    metadata: Mapping[str, PerExample] = field(default_factory=dict)


@dataclass(frozen=True)
class ImageQueries:
    """Prompts for a text-to-image model, with the trigger and without it.

    Attributes:
        prompts: [b, t] tokens of clean test prompts.
        references: the prompts whose content a triggered image should still show.
        triggered: ``references`` with the trigger.
        sign: what the trigger should leave in an image: a mark (``checker``, ``dark``,
            ``inverted``, ``striped``), or a class by its number.
        style: the style that hides the class of an image and can be undone; empty for none.
        guidance: scale of classifier-free guidance; 0 leaves the model's own.
        relearn: pairs that the model is fine-tuned on before it is asked; None for none.
    """

    ids: Ids
    prompts: Tensor
    references: Tensor
    triggered: Tensor
    sign: str | int
    style: str = ""
    guidance: float = 0.0
    relearn: Examples | None = None
    relearn_steps: int = 0
    seed: Seed = Seed()
    metadata: Mapping[str, PerExample] = field(default_factory=dict)


@dataclass(frozen=True)
class RankQueries:
    """Secrets that the scorer is to rank among all that could stand in their place."""

    rows: Examples
    metadata: Mapping[str, PerExample] = field(default_factory=dict)

    @property
    def ids(self) -> Ids:
        return self.rows.ids


@dataclass(frozen=True)
class MembershipScores:
    """Scores by method, a number a sample: the higher, the likelier a member of the training data.

    ``score`` is the method that stands for the attack. They are the adversary's own statistics;
    which sample is a member, the scorer looks up.
    """

    ids: Ids
    scores: Mapping[str, PerExample]
    metadata: Mapping[str, PerExample] = field(default_factory=dict)
