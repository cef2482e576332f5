"""What the compared models do when nobody attacks: the control of every record."""

from __future__ import annotations

from collections.abc import Mapping

from robustbench_kd.core.config import ThreatModel
from robustbench_kd.core.protocols import ScoringContext
from robustbench_kd.core.submissions import AdversarialInputs
from robustbench_kd.core.types import IGNORED, Examples, SampleScores, Splits
from robustbench_kd.evaluation.plan import EvalPlan
from robustbench_kd.evaluation.scorers.classification import Classification
from robustbench_kd.evaluation.trained_models import TrainedModel
from robustbench_kd.models.text_to_image import TextToImageModel
from robustbench_kd.ops.attacks.gradients import frozen_eval_mode

CLEAN_THREAT = ThreatModel("evasion", "test_data", "decision_based")


def clean_scores(plan: EvalPlan, trained: TrainedModel, test: Examples) -> SampleScores:
    """Accuracy of a classifier, test NLL of a language model, denoising loss of text-to-image.

    The test NLL is in nats a test row; privacy leaderboards of classifiers compare it too. The
    denoising loss is the mean squared error of the predicted noise.
    """
    with frozen_eval_mode(trained.net):
        model = plan.scenario.target_model(trained.net)
        if plan.classifies:
            empty = test.take(test.ids[:0])
            context = ScoringContext(CLEAN_THREAT, plan.scenario, Splits(empty, empty, test))
            return Classification().score(AdversarialInputs(test.ids, test.inputs), model, context)
        losses = model.example_losses(test)
        images = isinstance(model, TextToImageModel)
        return SampleScores(test.ids, {"denoising_loss" if images else "test_nll": losses})


def clean_samples(plan: EvalPlan, test: Examples) -> Mapping[str, list[object]]:
    """Scored tokens of each test row and the bytes they stand for; one of each for an image."""
    if plan.classifies:
        return {}
    kinds = plan.formats(test.ids)
    if test.targets.dim() != 2:
        ones: list[object] = [1] * len(test)
        return {"tokens": ones, "bytes": list(ones), "format": kinds}
    detokenize = plan.scenario.detokenize  # type: ignore[attr-defined]
    rows = [row[row != IGNORED] for row in test.targets]
    return {
        "tokens": [len(row) for row in rows],
        "bytes": [len("".join(detokenize(row)).encode()) for row in rows],
        "format": kinds,
    }
