"""A family of threats that the package does not have: four files, installed as a plug-in."""

from __future__ import annotations

ATTACK = '''\
"""Model extraction: a copy is trained on the answers of a model to queries of the adversary."""

from dataclasses import dataclass, field
from typing import ClassVar, Mapping

import torch
from torch import Tensor

from robustbench_kd.core.config import Schedule, ThreatModel
from robustbench_kd.core.protocols import TargetModel
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.types import Examples, PoisonedData, Splits
from robustbench_kd.models.factory import Shape, build
from robustbench_kd.training.objectives import label_loss
from robustbench_kd.training.trainer import fit


@dataclass(frozen=True)
class CopiedAnswers:
    """What the copy answers to every test input."""

    ids: Tensor
    answers: Tensor
    metadata: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class ModelExtraction:
    """Queries noisy validation images, and trains a copy on the answers.

    Args:
        queries: how many of them.
    """

    name: ClassVar[str] = "model-extraction"
    source: ClassVar[str] = "Tramer et al. 2016, Stealing machine learning models, sec. 4"
    requires: ClassVar[type] = TargetModel

    queries: int = 400
    epochs: int = 8

    @property
    def threat(self) -> ThreatModel:
        return ThreatModel("model_theft", "test_data", "decision_based", scorer="copy-agreement")

    def poison(self, data: Splits, seed: Seed) -> PoisonedData[None]:
        return PoisonedData(data, None)

    def attack(
        self, model: TargetModel, data: Splits, state: None, seed: Seed
    ) -> CopiedAnswers:
        rows = torch.arange(self.queries) % len(data.validation)
        noise = torch.randn(
            self.queries, *data.test.inputs.shape[1:], generator=seed.generator()
        )
        inputs = (data.validation.inputs[rows] + 0.1 * noise).clamp(0, 1)
        labelled = Examples(torch.arange(self.queries), inputs, model.answer(inputs))
        fresh = build("resnet-8", Shape(1, 8, 10, (0.3,), (0.4,)), seed / "copy")
        schedule = Schedule(epochs=self.epochs, batch=64)
        copy = fit(fresh, labelled, label_loss, schedule, seed / "fit").eval()
        with torch.inference_mode():
            answers = copy(data.test.inputs).argmax(1).clone()
        return CopiedAnswers(data.test.ids, answers)
'''
SCORER = '''\
"""Copy agreement: on how many test inputs does a copy answer as the original model?"""

from dataclasses import dataclass
from typing import ClassVar

from robustbench_kd.core.errors import BadSubmission
from robustbench_kd.core.protocols import ScoringContext, TargetModel
from robustbench_kd.core.submissions import Submission
from robustbench_kd.core.types import SampleScores
from robustbench_kd.evaluation.scorers._base import ColumnSpec, Scorer

from theirs.model_extraction import CopiedAnswers


@dataclass(frozen=True)
class CopyAgreement(Scorer):
    """Asks the model itself for its answers to the test inputs, and compares them."""

    name: ClassVar[str] = "copy-agreement"
    accepts: ClassVar[tuple[type, ...]] = (CopiedAnswers,)
    columns: ClassVar[tuple[ColumnSpec, ...]] = (
        ColumnSpec("agrees", "bit"),
        ColumnSpec("copy_correct", "bit"),
    )

    def score(
        self, submission: Submission, model: TargetModel, context: ScoringContext
    ) -> SampleScores:
        self.expect_accepted(submission)
        assert isinstance(submission, CopiedAnswers)
        test = context.data.test
        if submission.ids.tolist() != test.ids.tolist():
            raise BadSubmission("a copy must answer every test input")
        return SampleScores(
            test.ids,
            {
                "agrees": submission.answers == model.answer(test.inputs),
                "copy_correct": context.scenario.agree(submission.answers, test.targets),
            },
            metadata=submission.metadata,
        )
'''
METRIC = '''\
"""Copy fidelity: how often the adversary's copy answers as the student does."""

from dataclasses import dataclass
from typing import ClassVar

from robustbench_kd.metrics._share import ShareMetric


@dataclass(frozen=True)
class CopyFidelity(ShareMetric):
    """Share of test inputs on which copy and model agree."""

    name: ClassVar[str] = "copy-fidelity"
    higher_is_better: ClassVar[bool] = False
    column: ClassVar[str] = "agrees"
'''
BOARD = '''\
"""Handwritten digits: which student is hardest to copy?"""

from robustbench_kd.core.config import Budget, Leaderboard, Schedule

DIGITS_THEFT = Leaderboard(
    name="digits-theft",
    title="Handwritten digits, copied by queries",
    scenario="digits",
    budget=Budget("linf", 0.1),
    attacks=("clean", "model-extraction"),
    defenses=("standard-training", "ard", "rslad"),
    metrics=("copy-fidelity", "clean-accuracy"),
    rank_by="copy-fidelity",
    schedule=Schedule(epochs=20, batch=64),
)
'''
FILES = {
    "model_extraction.py": ATTACK,
    "copy_agreement.py": SCORER,
    "copy_fidelity.py": METRIC,
    "digits_theft.py": BOARD,
}
POINTS = {
    "attacks": {"model-extraction": "theirs.model_extraction:ModelExtraction"},
    "scorers": {"copy-agreement": "theirs.copy_agreement:CopyAgreement"},
    "metrics": {"copy-fidelity": "theirs.copy_fidelity:CopyFidelity"},
    "leaderboards": {"digits-theft": "theirs.digits_theft:DIGITS_THEFT"},
}
