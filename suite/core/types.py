"""The data that pass between attacks, defenses, scenarios and scorers; all of them frozen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from robustbench_kd.core.config import EvaluationWarning
from robustbench_kd.core.tensor_types import Ids, Mask, PerExample

S = TypeVar("S")

IGNORED = -100
"""The target of a token that is not scored."""


@dataclass(frozen=True)
class Examples:
    """Inputs with their targets and an id each; the ids of one scenario never repeat."""

    ids: Ids
    inputs: Tensor
    targets: Tensor

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, index: Tensor) -> Examples:
        """The examples at these positions (or under this mask)."""
        return Examples(self.ids[index], self.inputs[index], self.targets[index])

    def named(self, ids: Ids) -> Examples:
        """The examples with these ids, in this order.

        Raises:
            KeyError: where an id is not here.
        """
        if torch.equal(ids, self.ids):
            return self
        position = {int(i): n for n, i in enumerate(self.ids)}
        return self.take(torch.tensor([position[int(i)] for i in ids], dtype=torch.int64))


def append(train: Examples, extra: Examples, noise: torch.Generator) -> Examples:
    """A training set with further examples at its end."""
    return Examples(
        torch.cat([train.ids, extra.ids]),
        torch.cat([train.inputs, extra.inputs]),
        torch.cat([train.targets, extra.targets]),
    )


@dataclass(frozen=True)
class Splits:
    """A scenario's data. ``validation`` is for choices, ``test`` for the verdict alone.

    Attributes:
        reserve: what no ordinary training set contains, for attacks that insert canaries.
        audit: ordinary examples left out of ``train``, for attacks that insert members.
        insert: how further examples enter a training set; copies of one example share its id.
        kinds: the number of an id's task, where there are several.
    """

    train: Examples
    validation: Examples
    test: Examples
    reserve: Examples | None = None
    audit: Examples | None = None
    insert: Callable[[Examples, Examples, torch.Generator], Examples] = append
    kinds: Callable[[Tensor], Tensor] | None = None


@dataclass(frozen=True)
class PoisonedData(Generic[S]):
    """The data as the adversary returns them, and the state that its attack will need."""

    data: Splits
    attack_state: S


@dataclass(frozen=True)
class SampleScores:
    """What a scorer observed, sample by sample.

    Attributes:
        ids: of the samples.
        columns: a bit or a number for each sample, or for each eligible one.
        eligible: the samples on which the adversary can win; None where that is all of them.
        candidates: what else identifies a sample (repetitions, say), one value each.
        metadata: summaries of what the attack reported; never a verdict.
        warnings: why the row may claim more than it has.
        undecided: samples so close to a decision boundary that another machine may decide
            otherwise.
        codes: the coded inputs that prove the columns, where inputs were submitted.
    """

    ids: Ids
    columns: Mapping[str, PerExample]
    eligible: Mask | None = None
    candidates: Mapping[str, Tensor] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    warnings: frozenset[EvaluationWarning] = frozenset()
    undecided: Mask | None = None
    codes: Tensor | None = None


Json = dict[str, Any]
