"""Ranking: how well does a model know what was inserted, against what was not?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from robustbench_kd.core.errors import BadSubmission
from robustbench_kd.core.protocols import LanguageModel, ScoringContext, TargetModel
from robustbench_kd.core.submissions import MembershipScores, RankQueries, Submission
from robustbench_kd.core.types import SampleScores
from robustbench_kd.evaluation.scorers._base import ColumnSpec, Scorer, expect_numbers


@dataclass(frozen=True)
class Ranking(Scorer):
    """Ranks secrets itself, and takes down an adversary's membership scores as such.

    How often each sample was inserted (``repetitions``) the scorer looks up, whatever the attack.
    Columns of ``RankQueries``: ``score`` (log-likelihood of the secret), and ``rank`` among
    ``candidates``: exactly, or by sampling where ``exact`` is 0, with ``ties`` counted in, where a
    language model is asked; of any other model among the samples that were never inserted. Columns
    of ``MembershipScores``: ``score`` and ``score_METHOD``.
    """

    name: ClassVar[str] = "ranking"
    accepts: ClassVar[tuple[type, ...]] = (RankQueries, MembershipScores)
    columns: ClassVar[tuple[ColumnSpec, ...]] = (
        ColumnSpec("score", "number", "nats"),
        ColumnSpec("rank", "number", tolerance=0.02),
        ColumnSpec("candidates", "number", tolerance=0.0),
        ColumnSpec("ties", "number", tolerance=0.02),
        ColumnSpec("exact", "bit"),
    )

    def score(
        self, submission: Submission, model: TargetModel, context: ScoringContext
    ) -> SampleScores:
        self.expect_accepted(submission)
        ids = submission.ids
        repetitions = torch.tensor([context.repetitions.get(i, 0) for i in ids.tolist()])
        if isinstance(submission, RankQueries):
            columns = _ranked(submission, model, repetitions, context)
        else:
            assert isinstance(submission, MembershipScores)  # for the type checker; refused above
            columns = _taken_down(submission, context)
        return SampleScores(
            ids,
            columns,
            candidates={"ids": ids, "repetitions": repetitions},
            metadata=submission.metadata,
        )


def _ranked(
    submission: RankQueries, model: TargetModel, repetitions: Tensor, context: ScoringContext
) -> dict[str, Tensor]:
    rows = submission.rows
    score = -model.example_losses(rows)
    if isinstance(model, LanguageModel):
        ranks = model.ranks(rows, context.seed)
        return {
            "score": score,
            "rank": torch.tensor([float(rank.value) for rank in ranks]),
            "candidates": torch.tensor([rank.of for rank in ranks]),
            "ties": torch.tensor([rank.ties for rank in ranks]),
            "exact": torch.tensor([rank.estimator == "exact" for rank in ranks]),
        }
    inserted = (repetitions > 0).long()
    if not bool(inserted.any()):
        return {"score": score}
    unseen = score[inserted == 0].sort().values
    better = len(unseen) - torch.searchsorted(unseen, score)
    return {
        "score": score,
        "rank": (better + inserted).double(),  # what was never inserted is among the unseen already
        "candidates": len(unseen) + inserted,
    }


def _taken_down(submission: MembershipScores, context: ScoringContext) -> dict[str, Tensor]:
    if "score" not in submission.scores:
        raise BadSubmission("membership scores need one method that stands for the attack: 'score'")
    columns = {}
    for name, values in submission.scores.items():
        expect_numbers(name, values, submission.ids)
        if not bool(torch.isfinite(values.double()).all()):
            raise BadSubmission(f"the membership score {name!r} holds numbers that are not finite")
        columns["score" if name == "score" else f"score_{name}"] = values
    return columns
