"""The classification scorer: whatever an adversary submits, it looks at its own copy and asks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robustbench_kd.core.config import Budget, Capability, EvaluationWarning, ThreatModel
from robustbench_kd.core.errors import BadModel, BadSubmission
from robustbench_kd.core.protocols import ScoringContext
from robustbench_kd.core.submissions import AdversarialInputs, MembershipScores
from robustbench_kd.core.types import Examples, SampleScores, Splits
from robustbench_kd.evaluation.scorers.classification import Classification
from robustbench_kd.models.classifier import Classifier, classifier
from robustbench_kd.ops.attacks.quantization import decode
from robustbench_kd.scenarios.digits import Digits

LINF, L2 = Budget("linf", 0.125), Budget("l2", 0.125)


class Dark(nn.Module):
    """Answers class 0 where the first pixel is at most 0.55, else class 1."""

    def forward(self, x: Tensor) -> Tensor:
        score = 0.55 - x[:, 0, 0, 0]
        return torch.stack([score, -score], 1)


def context(
    budget: Budget | None = LINF, count: int = 4, capability: Capability = "test_data"
) -> ScoringContext:
    """Grey images of class 0, with ids that are neither in order nor from zero on."""
    ids = torch.tensor([30, 10, 40, 20])[:count]
    zeros = torch.zeros(count, dtype=torch.int64)
    test = Examples(ids, torch.full((count, 1, 2, 2), 0.5), zeros)
    empty = test.take(zeros[:0])
    threat = ThreatModel("evasion", capability, "white_box", budget)
    return ScoringContext(threat, Digits(), Splits(empty, empty, test))


def target() -> Classifier:
    return classifier(Dark(), 2)


def score(submission: Any, where: ScoringContext) -> SampleScores:
    return Classification().score(submission, target(), where)


def moved(where: ScoringContext, **by: float) -> Tensor:
    """The clean inputs, the first pixel of the named rows moved: ``_30`` is the row of id 30."""
    inputs = where.data.test.inputs.clone()
    for name, amount in by.items():
        inputs[where.data.test.ids.tolist().index(int(name[1:])), 0, 0, 0] += amount
    return inputs


def submitted(where: ScoringContext, **by: float) -> AdversarialInputs:
    return AdversarialInputs(where.data.test.ids, moved(where, **by))


def correct(scores: SampleScores) -> dict[int, bool]:
    flags: list[Any] = scores.columns["correct"].tolist()
    return dict(zip(scores.ids.tolist(), flags, strict=True))


def test_a_move_within_the_ball_that_changes_the_answer_breaks_its_example_and_no_other() -> None:
    where = context()
    scores = score(submitted(where, _40=0.1), where)
    assert correct(scores) == {30: True, 10: True, 40: False, 20: True}
    assert scores.warnings == frozenset()
    torch.testing.assert_close(
        scores.metadata["distance"], torch.tensor([0, 0, 0.1, 0]), atol=5e-4, rtol=0
    )


def test_a_submission_in_another_order_is_scored_in_the_order_of_the_test_set() -> None:
    """Else the attacks of a panel would speak of different examples in the same place."""
    where = context()
    test = replace(where.data.test, inputs=torch.linspace(0.1, 0.5, 16).view(4, 1, 2, 2))
    where = replace(where, data=replace(where.data, test=test))
    order = torch.tensor([2, 0, 3, 1])
    inputs, metadata = moved(where, _10=0.001), torch.tensor([3.0, 1.0, 4.0, 2.0])
    submission = AdversarialInputs(test.ids[order], inputs[order], None, {"n": metadata[order]})
    scores = score(submission, where)
    assert torch.equal(scores.ids, test.ids)
    assert scores.warnings == frozenset(), "compared with the clean input of another example"
    assert float(scores.metadata["distance"].max()) < 0.002
    assert torch.equal(scores.metadata["n"], metadata)
    straight = score(AdversarialInputs(test.ids, inputs), where)
    assert scores.codes is not None
    assert straight.codes is not None
    assert torch.equal(scores.codes, straight.codes)


@pytest.mark.parametrize("budget", [LINF, L2])
def test_rows_outside_of_the_ball_are_scored_on_the_clean_input_and_raise_a_warning(
    budget: Budget,
) -> None:
    where = context(budget)
    scores = score(submitted(where, _10=0.13, _40=0.12), where)
    assert correct(scores) == {30: True, 10: True, 40: False, 20: True}
    assert scores.warnings == frozenset({EvaluationWarning.OVER_BUDGET})
    assert float(scores.metadata["distance"].max()) <= budget.amount


@pytest.mark.parametrize("outside", [-0.01, 1.01])
def test_rows_outside_of_the_box_are_scored_on_the_clean_input_and_raise_a_warning(
    outside: float,
) -> None:
    where = context(Budget("linf", 1.0))
    inputs = moved(where, _10=0.2)
    inputs[1, 0, 1, 1] = outside
    scores = score(AdversarialInputs(where.data.test.ids, inputs), where)
    assert correct(scores)[10]
    assert scores.warnings == frozenset({EvaluationWarning.OVER_BUDGET})


def test_rounding_at_the_edge_of_ball_and_box_raises_no_warning() -> None:
    where = context()
    inputs = moved(where, _10=0.125 + 2e-7)
    inputs[2] = 0.625 + 1e-7
    scores = score(AdversarialInputs(where.data.test.ids, inputs), where)
    assert scores.warnings == frozenset()
    assert float(scores.metadata["distance"].max()) <= 0.125 * (1 + 1e-6)


def test_without_a_budget_any_move_of_test_inputs_is_over_it() -> None:
    where = context(budget=None)
    honest, moving = score(submitted(where), where), score(submitted(where, _10=0.1), where)
    assert honest.warnings == frozenset()
    assert moving.warnings == frozenset({EvaluationWarning.OVER_BUDGET})
    assert correct(moving) == correct(honest) == dict.fromkeys([30, 10, 40, 20], True)


def test_whoever_poisons_training_data_may_place_any_trigger_within_the_box() -> None:
    where = context(budget=None, capability="student_train_data")
    scores = score(submitted(where, _10=0.5, _20=-0.5), where)
    assert scores.warnings == frozenset()
    assert scores.columns["attack_success"].tolist() == [False, True, False, False]
    outside = score(submitted(where, _10=0.6), where)
    assert outside.warnings == frozenset({EvaluationWarning.OVER_BUDGET})
    assert not bool(outside.columns["attack_success"].any())


@pytest.mark.parametrize("budget", [LINF, L2])
def test_what_is_stored_is_what_was_scored(budget: Budget) -> None:
    where = context(budget)
    scores = score(submitted(where, _20=0.07), where)
    assert scores.codes is not None
    replayed = decode(scores.codes, where.data.test.inputs, budget)
    assert torch.equal(target().answer(replayed) == 0, scores.columns["correct"])


def test_a_targeted_evasion_succeeds_where_the_model_answers_its_target() -> None:
    where = context()
    targets = torch.tensor([1, 1, 0, 0])
    submission = replace(submitted(where, _10=0.1, _20=0.1), targets=targets)
    scores = score(submission, where)
    assert scores.metadata["attack_success"].tolist() == [False, True, True, False]
    assert scores.columns["correct"].tolist() == [True, False, True, False]


def test_a_poisoning_wins_only_where_it_wants_another_answer_than_the_right_one() -> None:
    where = context(budget=None, capability="student_train_data")
    targets = torch.tensor([0, 1, 1, -1])  # -1: any wrong answer will do
    scores = score(replace(submitted(where, _10=0.2, _20=0.2), targets=targets), where)
    assert scores.eligible is not None
    assert scores.eligible.tolist() == [False, True, True, True]
    assert scores.columns["attack_success"].tolist() == [True, False, True]
    assert scores.columns["recovered"].tolist() == [False, True, False]


def test_two_best_scores_that_are_as_good_as_equal_are_undecided() -> None:
    where = context()
    scores = score(submitted(where, _10=0.05, _40=0.1), where)
    assert scores.undecided is not None
    assert scores.undecided.tolist() == [False, True, False, False]


def test_metadata_are_kept_beside_the_verdict() -> None:
    where = context()
    norms = torch.tensor([1.0, 2.0, 3.0, 4.0])
    scores = score(replace(submitted(where), metadata={"norm": norms}), where)
    assert torch.equal(scores.metadata["norm"], norms)


def test_metadata_hold_one_number_a_sample() -> None:
    where = context()
    for metadata in ({"norm": torch.zeros(3)}, {"norm": torch.zeros(4, 1)}):
        with pytest.raises(BadSubmission, match="norm must hold one number a sample"):
            score(replace(submitted(where), metadata=metadata), where)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_inputs_that_are_no_numbers_are_refused(bad: float) -> None:
    where = context()
    inputs = moved(where)
    inputs[3, 0, 1, 0] = bad
    with pytest.raises(BadSubmission, match="NaN or infinite"):
        score(AdversarialInputs(where.data.test.ids, inputs), where)


@pytest.mark.parametrize(
    "ids",
    [[30, 10, 40], [30, 10, 40, 40], [30, 10, 40, 99], [30, 10, 40, 20, 20]],
    ids=["missing", "in place of another", "unknown", "twice"],
)
def test_every_test_example_is_submitted_exactly_once_or_none_is_scored(ids: list[int]) -> None:
    inputs = torch.full((len(ids), 1, 2, 2), 0.5)
    with pytest.raises(BadSubmission, match=r"every (sample|test example) exactly once"):
        score(AdversarialInputs(torch.tensor(ids), inputs), context())


def test_inputs_or_targets_of_another_shape_are_refused() -> None:
    where = context()
    with pytest.raises(BadSubmission, match="inputs have shape"):
        score(AdversarialInputs(where.data.test.ids, torch.zeros(4, 1, 3, 3)), where)
    with pytest.raises(BadSubmission, match="targets must hold one answer a sample"):
        score(replace(submitted(where), targets=torch.zeros(3, dtype=torch.int64)), where)


def test_membership_scores_are_no_evasion() -> None:
    where = context()
    submission = MembershipScores(where.data.test.ids, {"score": torch.zeros(4)})
    with pytest.raises(BadSubmission, match="takes AdversarialInputs, not a MembershipScores"):
        score(submission, where)


def test_a_network_that_answers_nan_makes_no_row() -> None:
    class Broken(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.full((len(x), 2), torch.nan)

    where = context()
    with pytest.raises(BadModel, match="NaN"):
        Classification().score(submitted(where), classifier(Broken(), 2), where)


def test_the_adversarys_tensors_are_left_as_they_are() -> None:
    where = context()
    inputs = moved(where, _10=0.9)
    before = inputs.clone()
    score(AdversarialInputs(where.data.test.ids.clone(), inputs), where)
    assert torch.equal(inputs, before)
    assert torch.equal(where.data.test.inputs, torch.full((4, 1, 2, 2), 0.5))
