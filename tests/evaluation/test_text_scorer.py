"""The generation scorer on text: what is extracted or said is decided by the model's answers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from fake_language_model import FakeLanguageModel
from torch import Tensor

from robustbench_kd.core.config import ThreatModel
from robustbench_kd.core.errors import BadSubmission
from robustbench_kd.core.protocols import ScoringContext
from robustbench_kd.core.submissions import MembershipScores, TextQueries
from robustbench_kd.core.types import IGNORED, Examples, SampleScores, Splits
from robustbench_kd.evaluation.scorers.generation import Generation
from robustbench_kd.scenarios.digits import Digits

SECRET = (7, 8)  # every row of the data goes 1, 2, 3, 7, 8
CLAIMS = {"extracted": torch.ones(3), "attack_success": torch.ones(3), "rank": torch.ones(3)}


def rows(scored: int = 2) -> Examples:
    """Three audited texts of five tokens, of whose targets the last so many are scored."""
    text = torch.tensor([1, 2, 3, *SECRET]).repeat(3, 1)
    targets = text[:, 1:].clone()
    targets[:, : 4 - scored] = IGNORED
    return Examples(torch.tensor([11, 12, 13]), text[:, :-1].clone(), targets)


def context() -> ScoringContext:
    empty = rows().take(torch.arange(0))
    threat = ThreatModel("privacy", "shared_train_data", "score_based", scorer="generation")
    data = Splits(empty, empty, empty, audit=rows(4))
    return ScoringContext(threat, Digits(), data, repetitions={12: 4})


def queries(match: Any = "prefix", **changes: Any) -> TextQueries:
    """Prompts that end before the secret, which is what is looked for."""
    prompts = torch.tensor([[1, 2, 3, IGNORED]]).repeat(3, 1)
    targets = torch.tensor([SECRET]).repeat(3, 1)
    fields = {"ids": rows().ids, "prompts": prompts, "targets": targets, "likelihood": rows()}
    return TextQueries(match=match, **{**fields, **changes})


def score(submission: Any, model: FakeLanguageModel | None = None) -> SampleScores:
    return Generation().score(submission, model or FakeLanguageModel(), context())


@pytest.mark.parametrize(
    ("text", "prefix", "anywhere"),
    [((7, 8, 0, 0), True, True), ((0, 7, 8, 0), False, True), ((0, 0, 0, 0), False, False)],
)
def test_the_models_answers_decide(text: tuple[int, ...], prefix: bool, anywhere: bool) -> None:
    model = FakeLanguageModel(text)
    assert score(queries("prefix"), model).columns["extracted"].tolist() == [prefix] * 3
    assert score(queries("anywhere"), model).columns["attack_success"].tolist() == [anywhere] * 3


@pytest.mark.parametrize("match", ["prefix", "anywhere"])
@pytest.mark.parametrize("claim", CLAIMS)
def test_an_attack_supplies_no_verdict(match: str, claim: str) -> None:
    with pytest.raises(BadSubmission, match=f"{claim!r}, which is for the scorer to decide"):
        score(queries(match, metadata={claim: CLAIMS[claim]}))


def test_columns_are_the_scorers_own_whatever_the_metadata_say() -> None:
    scores = score(queries("anywhere", metadata={"confidence": torch.ones(3)}))
    assert set(scores.columns) == {"score", "attack_success"}
    assert not bool(scores.columns["attack_success"].any())


def test_repetitions_are_looked_up_by_id() -> None:
    candidates = score(queries()).candidates
    assert candidates["ids"].tolist() == [11, 12, 13]
    assert candidates["repetitions"].tolist() == [0, 4, 0]


def test_the_score_is_the_likelihood_of_the_target_in_total_or_a_token() -> None:
    assert score(queries()).columns["score"].tolist() == [-4.0] * 3
    assert score(queries(per_token=True)).columns["score"].tolist() == [-2.0] * 3


def test_a_beam_is_searched_where_one_is_asked_for() -> None:
    model = FakeLanguageModel(places={11: 1, 13: 3})
    assert "beam_rank" not in score(queries(), model).columns
    assert score(queries(beam=4), model).columns["beam_rank"].tolist() == [1, 0, 3]


def test_sampled_answers_that_contain_the_target_are_counted() -> None:
    model = FakeLanguageModel(drawn=((7, 8, 0), (0, 0, 0), (0, 7, 8), (7, 0, 8)))
    scores = score(queries("anywhere", draws=4), model)
    assert scores.columns["sampled_success"].tolist() == [2, 2, 2]
    assert not bool(scores.columns["attack_success"].any()), "greedy answers are counted apart"


@pytest.mark.parametrize(
    ("targets", "says"),
    [
        ([[IGNORED, IGNORED]], "at least one"),  # which any answer would match
        ([[IGNORED, 8]], "the tokens whose likelihood is scored"),
        ([[0, 0]], "the tokens whose likelihood is scored"),
    ],
    ids=["matches anything", "shorter than the secret", "what the model says anyway"],
)
@pytest.mark.parametrize("match", ["prefix", "anywhere"])
def test_targets_that_are_easier_than_the_text_are_refused(
    targets: list[list[int]], says: str, match: str
) -> None:
    easier = torch.tensor(targets).repeat(3, 1)
    with pytest.raises(BadSubmission, match=says):
        score(queries(match, targets=easier))


def test_a_gap_within_a_target_is_refused() -> None:
    gap = torch.tensor([[7, IGNORED, 8]]).repeat(3, 1)
    with pytest.raises(BadSubmission, match="filled up with -100 behind its tokens only"):
        score(queries(targets=gap))
    behind = torch.tensor([[7, 8, IGNORED]]).repeat(3, 1)
    assert bool(
        score(queries(targets=behind), FakeLanguageModel((7, 8, 5))).columns["extracted"].all()
    )


def changed(part: Tensor, value: int) -> Tensor:
    other = part.clone()
    other[0, 0] = value
    return other


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"ids": torch.tensor([11, 12, 99])}, "lack"),
        ({"inputs": changed(rows().inputs, 5)}, "not the texts of its ids"),
        ({"targets": rows(1).targets}, "not the texts of its ids"),
    ],
    ids=["unknown text", "another text", "a prompt that holds half of the secret"],
)
def test_only_text_of_the_data_can_be_extracted(change: dict[str, Tensor], says: str) -> None:
    """Else an adversary could ask for whatever a model says of itself."""
    likelihood = replace(rows(), **change)
    targets = [row[row != IGNORED] for row in likelihood.targets]
    submission = queries(ids=likelihood.ids, likelihood=likelihood, targets=torch.stack(targets))
    with pytest.raises(BadSubmission, match=says):
        score(submission)


def test_likelihoods_of_other_samples_are_refused() -> None:
    with pytest.raises(BadSubmission, match="about other samples than its prompts"):
        score(queries(ids=torch.tensor([13, 12, 11])))


def test_a_sample_that_comes_twice_is_refused() -> None:
    with pytest.raises(BadSubmission, match="every sample exactly once"):
        score(queries(ids=torch.tensor([11, 12, 12])))


def test_other_submissions_and_other_models_are_refused() -> None:
    with pytest.raises(BadSubmission, match="takes TextQueries or ImageQueries, not a Membership"):
        score(MembershipScores(rows().ids, {"score": torch.zeros(3)}))
    classifier: Any = Digits().target_model(torch.nn.Identity())
    with pytest.raises(BadSubmission, match="text queries need a language model"):
        Generation().score(queries(), classifier, context())
