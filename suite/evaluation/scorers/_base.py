"""What every scorer is, and what it refuses."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch

from robustbench_kd.core.errors import BadSubmission
from robustbench_kd.core.protocols import ScoringContext, TargetModel
from robustbench_kd.core.submissions import Submission
from robustbench_kd.core.tensor_types import Ids
from robustbench_kd.core.types import SampleScores


@dataclass(frozen=True)
class ColumnSpec:
    """A column that a scorer may write.

    Attributes:
        tolerance: how far a re-run on another machine may differ, relative to 1 + |value|, before
            a value counts as another one; ranks differ by a share of themselves.
    """

    name: str
    kind: Literal["bit", "number"]
    unit: str = ""
    tolerance: float = 1e-3


@dataclass(frozen=True)
class Scorer(ABC):
    """Decides, by queries of its own, what a submission achieved on a model.

    A new scorer is a file in ``evaluation/scorers`` named after it, or an entry point of the group
    ``robustbench_kd.scorers``; a threat model names the scorer that decides.
    """

    name: ClassVar[str] = ""
    accepts: ClassVar[tuple[type, ...]] = ()
    columns: ClassVar[tuple[ColumnSpec, ...]] = ()

    @abstractmethod
    def score(
        self, submission: Submission, model: TargetModel, context: ScoringContext
    ) -> SampleScores:
        """The columns of a submission, a value a sample.

        Raises:
            BadSubmission: where it cannot be scored.
        """

    @classmethod
    def spec(cls, name: str) -> ColumnSpec:
        """What is known of a column; adversaries' own scores are numbers without a unit."""
        known = {column.name: column for column in cls.columns}
        return known.get(name, ColumnSpec(name, "number"))

    def expect_accepted(self, submission: Submission) -> None:
        """Refuses other kinds of submission, samples that come twice, and metadata that claim a
        verdict.

        Raises:
            BadSubmission: naming what would be right.
        """
        if not isinstance(submission, self.accepts):
            kinds = " or ".join(kind.__name__ for kind in self.accepts)
            raise BadSubmission(
                f"the {self.name} scorer takes {kinds}, not a {type(submission).__name__}"
            )
        verdicts = VERDICTS | {column.name for column in self.columns}
        expect_no_verdict(submission.metadata, submission.ids, verdicts)
        expect_unique(submission.ids)


VERDICTS = frozenset(
    {
        "attack_success",
        "attack_success_2",
        "beam_rank",
        "candidates",
        "clean_attack_success",
        "clean_correct",
        "clean_correct_2",
        "correct",
        "denoising_loss",
        "distance",
        "exact",
        "extracted",
        "frechet",
        "hit",
        "preserved",
        "preserved_2",
        "rank",
        "recovered",
        "removed",
        "repetitions",
        "right",
        "sampled_success",
        "score",
        "spent",
        "success",
        "test_nll",
        "ties",
        "won",
    }
)
"""Names that a scorer decides, now or in older records: metadata may not bear them."""


def expect_no_verdict(metadata: Mapping[str, Any], ids: Ids, verdicts: Set[str]) -> None:
    """Refuses metadata that claim a verdict or are not one number a sample.

    Raises:
        BadSubmission: naming the first.
    """
    for name, values in metadata.items():
        if name in verdicts or name.startswith("score_"):
            raise BadSubmission(
                f"the attack's metadata claim {name!r}, which is for the scorer to decide; an "
                "attack may only add measurements under names of its own"
            )
        expect_numbers(name, values, ids)


def expect_numbers(name: str, values: object, ids: Ids) -> None:
    """Refuses values that are not one number a sample.

    Raises:
        BadSubmission: naming them.
    """
    if not isinstance(values, torch.Tensor) or values.shape != ids.shape:
        raise BadSubmission(f"the submission's {name} must hold one number a sample")


def expect_unique(ids: Ids) -> None:
    """Refuses a sample that is submitted twice.

    Raises:
        BadSubmission: where one is.
    """
    if len(ids.unique()) < len(ids):
        raise BadSubmission("the submission must hold every sample exactly once")
