"""The sanity checks of a student, computed once for the same weights, budget and examples."""

from __future__ import annotations

from dataclasses import dataclass, field

from robustbench_kd.core.config import EvaluationWarning
from robustbench_kd.core.protocols import WhiteBoxModel
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.types import Examples
from robustbench_kd.evaluation.attack_runner import ENGINE, examples_digest
from robustbench_kd.evaluation.identity import Identity
from robustbench_kd.evaluation.plan import EvalPlan
from robustbench_kd.evaluation.sanity_checks import gradient_checks
from robustbench_kd.evaluation.trained_models import TrainedModel
from robustbench_kd.ops.attacks.gradients import frozen_eval_mode
from robustbench_kd.results.artifacts import find_cached, save_cached
from robustbench_kd.results.record import Json, digest


@dataclass(frozen=True)
class Sanity:
    """What the checks measured, and the warnings that follow."""

    values: Json = field(default_factory=dict)
    warnings: frozenset[EvaluationWarning] = frozenset()


def sanity_of(plan: EvalPlan, student: TrainedModel, test: Examples, identity: Identity) -> Sanity:
    """The gradient checks of a student under attacks on test data, or those of an earlier run."""
    if plan.budget is None or not plan.classifies:
        return Sanity()
    with frozen_eval_mode(student.net):
        model = plan.scenario.target_model(student.net)
        if not isinstance(model, WhiteBoxModel):
            return Sanity()
        question = {
            "engine": ENGINE,
            "what": "sanity checks",
            "weights": identity.weights,
            "answers": identity.answers,
            "budget": [plan.budget.kind, plan.budget.amount],
            "examples": examples_digest(test),
            "seed": plan.seed,
        }
        key = digest(question)
        if (stored := find_cached(key)) is not None:
            document = stored[1]
            warnings = frozenset(EvaluationWarning(text) for text in document["warnings"])
            return Sanity(document["values"], warnings)
        seed = Seed(plan.seed) / "health"
        values, warnings = gradient_checks(model, test, plan.budget, seed)
    save_cached(key, {}, {"values": values, "warnings": sorted(warnings)})
    return Sanity(values, warnings)
