"""No attack decides: what every attack of the registry submits is scored by asking the model."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from attack_cases import AttackCase, attack_case
from torch import nn

from robustbench_kd.core import registry
from robustbench_kd.core.errors import BadSubmission
from robustbench_kd.core.submissions import AdversarialInputs, Submission
from robustbench_kd.evaluation.attack_runner import scorer_of
from robustbench_kd.evaluation.scorers._base import VERDICTS, Scorer

ATTACKS = list(registry.entries("attacks"))
SCORERS = list(registry.entries("scorers"))


def claiming(submission: Submission, *names: str) -> Any:
    """The same submission, whose metadata say that every sample is a success."""
    ones = torch.ones(len(submission.ids))
    return replace(submission, metadata=dict.fromkeys(names, ones))  # type: ignore[type-var]


def stored(cache: Path) -> list[Path]:
    return [path for path in cache.rglob("*") if path.is_file()]


def failing(net: nn.Module, fails: Callable[[], bool]) -> nn.Module:
    """A copy of the network, each of whose layers may raise."""

    def hook(*_: object) -> None:
        if fails():
            raise RuntimeError("the model failed")

    broken = copy.deepcopy(net)
    for module in broken.modules():
        module.register_forward_pre_hook(hook)
    return broken


def failing_once() -> Callable[[], bool]:
    """True for the first time that anybody asks: copies of a network share it."""
    remaining = [True]
    return lambda: bool(remaining and remaining.pop())


@pytest.mark.parametrize("name", ATTACKS)
def test_metadata_that_claim_a_verdict_make_no_row(
    name: str, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = attack_case(name)
    scorer, context = scorer_of(case.attack), case.runner.context(case.attack)
    submission, _ = case.runner.submit(name, case.attack, case.net)
    model = case.runner.scenario.target_model(case.net)
    assert scorer.score(submission, model, context).columns
    own = {column.name for column in scorer.columns}
    for claim in sorted(VERDICTS | own | {"score_of_mine"}):
        with pytest.raises(BadSubmission, match=f"{claim!r}, which is for the scorer to decide"):
            scorer.score(claiming(submission, claim), model, context)
    claim = min(own)
    monkeypatch.setattr(type(case.attack), "attack", lambda *_: claiming(submission, claim))
    case.runner.shared.clear()
    with pytest.raises(BadSubmission, match="for the scorer to decide"):
        run(name, case)
    assert stored(own_cache) == []


@pytest.mark.parametrize("name", ATTACKS)
def test_a_model_that_raises_when_it_is_queried_makes_no_row(name: str, own_cache: Path) -> None:
    """Neither attack nor scorer may go on where a query failed, be it the first one alone."""
    case = attack_case(name)
    for fails in (failing_once(), lambda: True):
        with pytest.raises(RuntimeError, match="the model failed"):
            run(name, replace(case, net=failing(case.net, fails)))
        case.runner.shared.clear()
    assert stored(own_cache) == []
    run(name, case)
    assert len(stored(own_cache)) == 1


def run(name: str, case: AttackCase) -> None:
    case.runner.run(name, case.attack, case.net, "a digest")


@pytest.mark.parametrize("name", SCORERS)
def test_a_scorer_bears_the_name_of_its_file_and_describes_its_columns(name: str) -> None:
    entry: type[Scorer] = registry.find("scorers", name).load()
    assert entry.name == name
    assert entry.accepts
    assert (entry.__doc__ or "").strip()
    columns = [column.name for column in entry.columns]
    assert len(set(columns)) == len(columns) > 0
    assert all(column.tolerance >= 0 for column in entry.columns)
    assert entry.spec(columns[0]) is entry.columns[0]


@pytest.mark.parametrize("name", SCORERS)
def test_a_scorer_refuses_submissions_of_another_kind(name: str) -> None:
    scorer: Scorer = registry.find("scorers", name).load()()
    case = attack_case("fgsm")
    other = OtherSubmission(torch.arange(3))
    model = case.runner.scenario.target_model(case.net)
    with pytest.raises(BadSubmission, match=f"the {name} scorer takes .*, not a OtherSubmission"):
        scorer.score(other, model, case.runner.context(case.attack))


class OtherSubmission:
    """A submission that no scorer knows."""

    def __init__(self, ids: torch.Tensor) -> None:
        self.ids = ids
        self.metadata: dict[str, torch.Tensor] = {}


def test_metadata_may_not_bear_a_column_that_a_plug_ins_scorer_decides() -> None:
    """Also names that no scorer of this package has."""
    from robustbench_kd.evaluation.scorers._base import ColumnSpec
    from robustbench_kd.evaluation.scorers.classification import Classification

    class Other(Classification):
        columns = (*Classification.columns, ColumnSpec("agreement", "bit"))

    case = attack_case("clean")
    submission, _ = case.runner.submit("clean", case.attack, case.net)
    assert isinstance(submission, AdversarialInputs)
    model = case.runner.scenario.target_model(case.net)
    context = case.runner.context(case.attack)
    claim = claiming(submission, "agreement")
    assert Classification().score(claim, model, context).columns
    with pytest.raises(BadSubmission, match="'agreement', which is for the scorer to decide"):
        Other().score(claim, model, context)
