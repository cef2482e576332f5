"""The examples in docs/extending.md and the README's metric and leaderboard do what is said."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

import robustbench_kd
from robustbench_kd.attacks.backdoor.badnets import BadNets
from robustbench_kd.core import registry
from robustbench_kd.core.errors import BadSubmission
from robustbench_kd.core.protocols import ScoringContext
from robustbench_kd.core.submissions import AdversarialInputs
from robustbench_kd.core.types import Examples, Splits
from robustbench_kd.results.groups import SeedGroup
from robustbench_kd.results.store import load_records
from robustbench_kd.scenarios.digits import Digits

ROOT = Path(__file__).parents[2]
PACKAGE = "package_of_the_examples"
ENTRIES = {
    "attacks": {
        "badnets-confidence": "badnets_confidence:BadNetsConfidence",
        "margin-step": "margin_step:MarginStep",
    },
    "defenses": {"noisy-distillation": "noisy_distillation:NoisyDistillation"},
    "scorers": {"confidence": "confidence:Confidence"},
    "metrics": {
        "broken-share": "broken_share:BrokenShare",
        "target-confidence": "target_confidence:TargetConfidence",
    },
    "leaderboards": {
        "digits-confidence": "digits_confidence:DIGITS_CONFIDENCE",
        "digits-margin": "digits_margin:DIGITS_MARGIN",
    },
}


def examples(document: Path) -> dict[str, str]:
    """The files that a document shows whole, by their names."""
    text = document.read_text(encoding="utf-8")
    return dict(re.findall(r"```python\n# \S*/(\w+\.py)\n(.*?)```", text, re.DOTALL))


FILES = {**examples(ROOT / "README.md"), **examples(ROOT / "docs" / "extending.md")}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The examples as an installed package that names them by entry points."""
    folder = tmp_path / "site" / PACKAGE
    folder.mkdir(parents=True)
    (folder / "__init__.py").touch()
    for name, text in FILES.items():
        (folder / name).write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(str(folder.parent))
    monkeypatch.setattr(
        registry,
        "entry_points",
        lambda group: [
            EntryPoint(name, f"{PACKAGE}.{value}", group)
            for name, value in ENTRIES.get(group.partition(".")[2], {}).items()
        ],
    )
    importlib.invalidate_caches()
    yield PACKAGE
    for module in [name for name in sys.modules if name.partition(".")[0] == PACKAGE]:
        del sys.modules[module]


def module(package: str, name: str) -> ModuleType:
    return importlib.import_module(f"{package}.{name}")


def test_every_example_is_an_entry_that_loads(package: str) -> None:
    named = {value.partition(":")[0] for names in ENTRIES.values() for value in names.values()}
    assert {name.removesuffix(".py") for name in FILES} == named
    for kind, names in ENTRIES.items():
        for name in names:
            assert registry.find(kind, name).load().name == name


class FixedModel:
    """Answers with the same logits, whatever the inputs."""

    def __init__(self, logits: Tensor) -> None:
        self.fixed = logits

    def logits(self, inputs: Tensor) -> Tensor:
        return self.fixed.expand(len(inputs), -1)

    def answer(self, inputs: Tensor) -> Tensor:
        return self.logits(inputs).argmax(1)

    def example_losses(self, examples: Examples) -> Tensor:
        raise NotImplementedError


def test_the_scorer_keeps_the_probability_of_the_target_on_eligible_inputs(package: str) -> None:
    scorer = module(package, "confidence").Confidence()
    labels = torch.tensor([0, 1, 2])
    test = Examples(torch.arange(3), torch.zeros(3, 1, 8, 8), labels)
    context = ScoringContext(BadNets().threat, Digits(), Splits(test, test, test))
    target = torch.zeros(3, dtype=torch.int64)
    model = FixedModel(torch.tensor([[0.6, 0.3, 0.1]]).log())
    scores = scorer.score(AdversarialInputs(test.ids, test.inputs, target), model, context)
    assert scores.eligible is not None
    assert scores.eligible.tolist() == [False, True, True]
    torch.testing.assert_close(scores.columns["confidence"], torch.tensor([0.6, 0.6]))
    with pytest.raises(BadSubmission, match="none was submitted"):
        scorer.score(AdversarialInputs(test.ids, test.inputs), model, context)


def test_the_metric_is_the_share_of_correct_inputs_that_are_broken(package: str) -> None:
    metric = module(package, "broken_share").BrokenShare()
    record = next(record for record in load_records(board="fashion-linf") if record.label == "ard")
    value = metric(SeedGroup((record,)))
    assert (record.clean.hits, record.worst.hits) == (856, 701)
    assert (value.hits, value.count) == (155, 856)


@pytest.mark.parametrize(
    ("board", "defense", "attack"),
    [
        ("digits-margin", "noisy-distillation", "margin-step"),
        ("digits-confidence", "distillation", "badnets-confidence"),
    ],
)
def test_the_leaderboards_of_the_examples_evaluate_and_verify(
    board: str, defense: str, attack: str, package: str
) -> None:
    (record,) = robustbench_kd.evaluate(defense, board=board, train=True)
    assert attack in {label.partition(":")[0] for label in record.attack_labels}
    assert robustbench_kd.verify(record).values > 500
    values = metrics_of(board, record)
    assert all(value is not None for value in values.values()), values
    if board == "digits-confidence":  # the teacher learns the backdoor, and its student does not
        assert values["target-confidence:model=source"] > 0.9
        assert values["target-confidence"] < 0.2


def metrics_of(board: str, record: Any) -> dict[str, float]:
    """The values of the leaderboard's metrics for one record."""
    group = SeedGroup((record,))
    metrics = {
        text: registry.configured("metrics", text) for text in registry.board_of(board).metrics
    }
    return {text: metric(group).value for text, metric in metrics.items()}
