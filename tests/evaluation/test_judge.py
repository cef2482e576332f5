"""The judge: whatever an adversary hands in, the verdict rests on the judge's own copy."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robustbench_kd.core.config import Budget, Doubt
from robustbench_kd.core.errors import BadModel, BadSubmission
from robustbench_kd.core.protocols import Case
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.types import Evidence, Examples, Splits, Submission, Suspicion, Threat
from robustbench_kd.evaluation.scorer import judge
from robustbench_kd.models.classifier import Classifier, classifier
from robustbench_kd.ops.attacks.quantization import decode
from robustbench_kd.scenarios.digits import Digits

LINF, L2 = Budget("linf", 0.125), Budget("l2", 0.125)


class Dark(nn.Module):
    """Says class 0 where the first pixel is at most 0.55, else class 1."""

    def forward(self, x: Tensor) -> Tensor:
        score = 0.55 - x[:, 0, 0, 0]
        return torch.stack([score, -score], 1)


def case(budget: Budget | None = LINF, count: int = 4) -> Case:
    """Grey images of class 0, with ids that are neither in order nor from zero on."""
    ids = torch.tensor([30, 10, 40, 20])[:count]
    zeros = torch.zeros(count, dtype=torch.int64)
    test = Examples(ids, torch.full((count, 1, 2, 2), 0.5), zeros)
    none = test.take(zeros[:0])
    return Case(Threat("evade", "input", "weights", budget), Digits(), Splits(none, none, test))


def subject() -> Classifier:
    return classifier(Dark(), 2)


def moved(where: Case, **by: float) -> Tensor:
    """The clean inputs, the first pixel of the named rows moved: ``_30`` is the row of id 30."""
    inputs = where.data.test.inputs.clone()
    for name, amount in by.items():
        inputs[where.data.test.ids.tolist().index(int(name[1:])), 0, 0, 0] += amount
    return inputs


def right(verdict: Evidence) -> dict[int, bool]:
    flags: list[Any] = verdict.columns["right"].tolist()
    return dict(zip(verdict.ids.tolist(), flags, strict=True))


def test_a_move_within_the_ball_that_changes_the_answer_breaks_its_example_and_no_other() -> None:
    where = case()
    verdict = judge(Submission(where.data.test.ids, moved(where, _40=0.1)), subject(), where)
    assert right(verdict) == {30: True, 10: True, 40: False, 20: True}
    assert verdict.doubts == frozenset()
    torch.testing.assert_close(
        verdict.columns["spent"], torch.tensor([0, 0, 0.1, 0]), atol=5e-4, rtol=0
    )


def test_ids_in_another_order_are_matched_with_the_judges_own_copy() -> None:
    where = case()
    test = where.data.test
    other = Examples(test.ids, torch.linspace(0.1, 0.5, 16).view(4, 1, 2, 2), test.targets)
    where = Case(where.threat, where.scenario, Splits(other.take(test.ids[:0]), other, other))
    order = torch.tensor([2, 0, 3, 1])
    inputs = moved(where, _10=0.001)[order]
    verdict = judge(Submission(other.ids[order], inputs), subject(), where)
    assert verdict.ids.tolist() == [40, 30, 20, 10]
    assert verdict.doubts == frozenset(), "it was compared with another example's clean input"
    assert float(verdict.columns["spent"].max()) < 0.002


@pytest.mark.parametrize("budget", [LINF, L2])
def test_rows_outside_of_the_ball_are_judged_on_the_clean_input_and_raise_a_doubt(
    budget: Budget,
) -> None:
    where = case(budget)
    inputs = moved(where, _10=0.13, _40=0.12)
    verdict = judge(Submission(where.data.test.ids, inputs), subject(), where)
    assert right(verdict) == {30: True, 10: True, 40: False, 20: True}
    assert verdict.doubts == frozenset({Doubt.OVER_BUDGET})
    assert float(verdict.columns["spent"].max()) <= budget.amount


@pytest.mark.parametrize("outside", [-0.01, 1.01])
def test_rows_outside_of_the_box_are_judged_on_the_clean_input_and_raise_a_doubt(
    outside: float,
) -> None:
    where = case(Budget("linf", 1.0))
    inputs = moved(where, _10=0.2)
    inputs[1, 0, 1, 1] = outside
    verdict = judge(Submission(where.data.test.ids, inputs), subject(), where)
    assert right(verdict)[10]
    assert verdict.doubts == frozenset({Doubt.OVER_BUDGET})


def test_rounding_at_the_edge_of_ball_and_box_raises_no_doubt() -> None:
    where = case()
    inputs = moved(where, _10=0.125 + 2e-7)
    inputs[2] = 0.625 + 1e-7
    verdict = judge(Submission(where.data.test.ids, inputs), subject(), where)
    assert verdict.doubts == frozenset()
    assert float(verdict.columns["spent"].max()) <= 0.125 * (1 + 1e-6)


def test_without_a_budget_any_move_is_over_it() -> None:
    where = case(budget=None)
    honest = judge(Submission(where.data.test.ids, moved(where)), subject(), where)
    assert honest.doubts == frozenset()
    moving = judge(Submission(where.data.test.ids, moved(where, _10=0.1)), subject(), where)
    assert moving.doubts == frozenset({Doubt.OVER_BUDGET})
    assert right(moving) == right(honest) == dict.fromkeys([30, 10, 40, 20], True)


@pytest.mark.parametrize("budget", [LINF, L2])
def test_what_is_stored_is_what_was_judged(budget: Budget) -> None:
    where = case(budget)
    verdict = judge(Submission(where.data.test.ids, moved(where, _20=0.07)), subject(), where)
    assert verdict.codes is not None
    replayed = decode(verdict.codes, where.data.test.inputs, budget)
    assert torch.equal(subject().answer(replayed) == 0, verdict.columns["right"])


def test_a_wanted_answer_is_won_where_it_is_given() -> None:
    where = case()
    wanted = torch.tensor([1, 1, 0, 0])
    inputs = moved(where, _10=0.1, _20=0.1)
    verdict = judge(Submission(where.data.test.ids, inputs, wanted), subject(), where)
    assert verdict.columns["won"].tolist() == [False, True, True, False]
    assert verdict.columns["right"].tolist() == [True, False, True, False]


def test_notes_are_kept_beside_the_verdict() -> None:
    where = case()
    norms = torch.tensor([1.0, 2.0, 3.0, 4.0])
    exhibit = Submission(where.data.test.ids, moved(where), notes={"norm": norms})
    assert torch.equal(judge(exhibit, subject(), where).columns["norm"], norms)


@pytest.mark.parametrize("note", ["right", "spent", "won"])
def test_no_note_takes_the_place_of_a_verdict(note: str) -> None:
    """An adversary that calls its note ``right`` would write its own row."""
    where = case()
    claimed = {note: torch.zeros(4, dtype=torch.bool)}
    exhibit = Submission(where.data.test.ids, moved(where), notes=claimed)
    with pytest.raises(BadSubmission, match=note):
        judge(exhibit, subject(), where)


def test_a_note_holds_one_number_an_example() -> None:
    where = case()
    exhibit = Submission(where.data.test.ids, moved(where), notes={"norm": torch.zeros(3)})
    with pytest.raises(BadSubmission, match="'norm' must hold one number an example"):
        judge(exhibit, subject(), where)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_inputs_that_are_no_numbers_are_refused(bad: float) -> None:
    where = case()
    inputs = moved(where)
    inputs[3, 0, 1, 0] = bad
    with pytest.raises(BadSubmission, match="NaN or infinite"):
        judge(Submission(where.data.test.ids, inputs), subject(), where)


@pytest.mark.parametrize(
    "ids",
    [[30, 10, 40], [30, 10, 40, 40], [30, 10, 40, 99], [30, 10, 40, 20, 20]],
    ids=["one is missing", "one stands for another", "one is unknown", "one comes twice"],
)
def test_every_test_example_is_submitted_exactly_once_or_none_is_judged(ids: list[int]) -> None:
    where = case()
    inputs = torch.full((len(ids), 1, 2, 2), 0.5)
    with pytest.raises(BadSubmission, match="every test example exactly once"):
        judge(Submission(torch.tensor(ids), inputs), subject(), where)


def test_inputs_of_another_shape_are_refused() -> None:
    where = case()
    with pytest.raises(BadSubmission, match="shape"):
        judge(Submission(where.data.test.ids, torch.zeros(4, 1, 3, 3)), subject(), where)


def test_a_suspicion_is_no_evasion() -> None:
    where = case()
    with pytest.raises(BadSubmission, match="suspicion"):
        judge(Suspicion(where.data.test.ids, torch.zeros(4)), subject(), where)


def test_a_network_that_answers_nan_makes_no_row() -> None:
    class Broken(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.full((len(x), 2), torch.nan)

    where = case()
    with pytest.raises(BadModel, match="NaN"):
        judge(Submission(where.data.test.ids, moved(where)), classifier(Broken(), 2), where)


def test_the_adversarys_tensors_are_left_as_they_are() -> None:
    where = case()
    inputs, ids = moved(where, _10=0.9), where.data.test.ids.clone()
    copy = inputs.clone()
    judge(Submission(ids, inputs), subject(), where)
    assert torch.equal(inputs, copy)
    assert torch.equal(where.data.test.inputs, torch.full((4, 1, 2, 2), 0.5))


def test_named_examples_come_in_the_order_that_is_asked_for() -> None:
    test = Digits().splits(Seed(), whole=False).test
    order = torch.randperm(len(test), generator=Seed().generator())
    assert torch.equal(test.named(test.ids[order]).inputs, test.inputs[order])
    with pytest.raises(KeyError):
        test.named(torch.tensor([10**6]))
