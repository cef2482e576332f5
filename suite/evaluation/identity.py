"""Who is evaluated: the digest of the weights and, of somebody's own network, of its answers."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from robustbench_kd.core.config import EvaluationWarning
from robustbench_kd.core.protocols import WhiteBoxModel
from robustbench_kd.core.types import Examples
from robustbench_kd.evaluation.attack_runner import network_copy
from robustbench_kd.evaluation.plan import EvalPlan
from robustbench_kd.evaluation.sanity_checks import expect_answers
from robustbench_kd.evaluation.trained_models import TrainedModel
from robustbench_kd.models.statistics import weights_digest
from robustbench_kd.ops.attacks.gradients import frozen_eval_mode, input_gradient


@dataclass(frozen=True)
class Identity:
    """Digest of the student's weights, fingerprint of its answers, and what is odd about them."""

    weights: str
    answers: str | None = None
    warnings: frozenset[EvaluationWarning] = frozenset()


def identify(plan: EvalPlan, student: TrainedModel, test: Examples) -> Identity:
    """The identity of the student; on test data it is asked before anything is spent.

    Raises:
        BadModel: where it does not answer as a classifier of logits would, or cannot be copied.
    """
    with frozen_eval_mode(student.net):
        weights = weights_digest(student.net.state_dict())
        model = plan.scenario.target_model(student.net)
        if plan.board.poisons or not isinstance(model, WhiteBoxModel):
            return Identity(weights)
        warnings = expect_answers(model, test, plan.accept_probabilities)
        if student.origin != "user":
            return Identity(weights, warnings=warnings)
        network_copy(student.net)
        return Identity(weights, fingerprint(model, test), warnings)


def fingerprint(model: WhiteBoxModel, test: Examples) -> str:
    """SHA-256 of a network's scores of the first images, and of how its scores slope there."""
    x = test.inputs[:64]
    slopes = input_gradient(lambda z: model.logits(z).square().sum(1), x)
    with torch.inference_mode():
        return weights_digest({"scores": model.logits(x), "slopes": slopes})
