"""The ranking scorer: it ranks secrets itself, and looks up who was inserted."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from fake_language_model import FakeLanguageModel
from torch import Tensor

from robustbench_kd.core.config import ThreatModel
from robustbench_kd.core.errors import BadSubmission
from robustbench_kd.core.protocols import ScoringContext, TargetModel
from robustbench_kd.core.submissions import AdversarialInputs, MembershipScores, RankQueries
from robustbench_kd.core.types import Examples, SampleScores, Splits
from robustbench_kd.evaluation.scorers.ranking import Ranking
from robustbench_kd.scenarios.digits import Digits

IDS = torch.tensor([4, 2, 9, 7])
LOSSES = {4: 1.0, 2: 0.5, 9: 2.0, 7: 1.0}


class FakeClassifier:
    """A model of images that is known by its losses alone."""

    def answer(self, inputs: Tensor) -> Tensor:
        return torch.zeros(len(inputs), dtype=torch.int64)

    def example_losses(self, examples: Examples) -> Tensor:
        return torch.tensor([LOSSES[i] for i in examples.ids.tolist()])


def secrets() -> Examples:
    return Examples(IDS, torch.zeros(4, 1, 2, 2), torch.zeros(4, dtype=torch.int64))


def texts() -> Examples:
    return Examples(IDS, torch.zeros(4, 3, dtype=torch.int64), torch.ones(4, 3, dtype=torch.int64))


def score(
    submission: Any, model: TargetModel | None = None, repetitions: dict[int, int] | None = None
) -> SampleScores:
    empty = secrets().take(torch.arange(0))
    threat = ThreatModel("privacy", "shared_train_data", "score_based")
    splits = Splits(empty, empty, empty)
    context = ScoringContext(threat, Digits(), splits, repetitions or {})
    return Ranking().score(submission, model or FakeClassifier(), context)


def test_a_language_model_is_asked_for_the_rank_of_every_secret() -> None:
    model = FakeLanguageModel(places={4: 1, 2: 50, 9: 100, 7: 3}, candidates=100)
    columns = score(RankQueries(texts()), model).columns
    assert columns["rank"].tolist() == [1, 50, 100, 3]
    assert columns["candidates"].tolist() == [100] * 4
    assert columns["ties"].tolist() == [0] * 4
    assert columns["exact"].tolist() == [True] * 4
    assert columns["score"].tolist() == [-6.0] * 4


def test_of_other_models_inserted_samples_are_ranked_among_those_never_inserted() -> None:
    """Ids 4 and 2 were inserted; of the two others, of losses 2 and 1, none is likelier than 2."""
    columns = score(RankQueries(secrets()), repetitions={4: 16, 2: 1}).columns
    assert columns["score"].tolist() == [-1.0, -0.5, -2.0, -1.0]
    assert columns["rank"].tolist() == [2, 1, 2, 1]  # a tie counts against the inserted one
    assert columns["candidates"].tolist() == [3, 3, 2, 2]


def test_where_nothing_was_inserted_there_is_no_rank() -> None:
    assert set(score(RankQueries(secrets())).columns) == {"score"}


def test_who_was_inserted_is_looked_up_whatever_the_attack() -> None:
    submission = MembershipScores(IDS, {"score": torch.tensor([3.0, 2.0, 1.0, 0.0])})
    scores = score(submission, repetitions={9: 1, 7: 1})
    assert scores.candidates["ids"].tolist() == IDS.tolist()
    assert scores.candidates["repetitions"].tolist() == [0, 0, 1, 1]


def test_an_adversarys_scores_are_taken_down_under_names_of_their_own() -> None:
    """So that no method can pass its numbers off as the scorer's."""
    zeros = torch.zeros(4)
    submission = MembershipScores(IDS, {"score": zeros, "rank": zeros + 1, "zlib": zeros})
    assert set(score(submission).columns) == {"score", "score_rank", "score_zlib"}


@pytest.mark.parametrize("claim", ["rank", "candidates", "score", "repetitions", "score_lira"])
def test_an_attack_supplies_no_verdict(claim: str) -> None:
    metadata = {claim: torch.ones(4)}
    for submission in (
        RankQueries(secrets(), metadata),
        MembershipScores(IDS, {"score": torch.zeros(4)}, metadata),
    ):
        with pytest.raises(BadSubmission, match=f"{claim!r}, which is for the scorer to decide"):
            score(submission)


def test_membership_scores_are_finite_numbers_one_a_sample_with_one_that_stands_for_all() -> None:
    with pytest.raises(BadSubmission, match="need one method that stands for the attack"):
        score(MembershipScores(IDS, {"lira": torch.zeros(4)}))
    with pytest.raises(BadSubmission, match="lira must hold one number a sample"):
        score(MembershipScores(IDS, {"score": torch.zeros(4), "lira": torch.zeros(3)}))
    with pytest.raises(BadSubmission, match="'score' holds numbers that are not finite"):
        score(MembershipScores(IDS, {"score": torch.tensor([0, 1, 2, torch.inf])}))


def test_a_sample_that_comes_twice_and_other_submissions_are_refused() -> None:
    twice = torch.tensor([4, 4, 9, 7])
    with pytest.raises(BadSubmission, match="every sample exactly once"):
        score(MembershipScores(twice, {"score": torch.zeros(4)}))
    with pytest.raises(BadSubmission, match="takes RankQueries or MembershipScores, not a Adver"):
        score(AdversarialInputs(IDS, torch.zeros(4, 1, 2, 2)))
