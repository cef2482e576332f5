"""What a record says of data, models and versions."""

from __future__ import annotations

import platform
from collections.abc import Mapping

import numpy as np
import torch

from robustbench_kd.core.types import Examples, Splits
from robustbench_kd.core.version import current
from robustbench_kd.evaluation.attack_runner import examples_digest
from robustbench_kd.evaluation.identity import Identity
from robustbench_kd.evaluation.plan import EvalPlan
from robustbench_kd.evaluation.trained_models import TrainedModel
from robustbench_kd.models.statistics import macs, parameters
from robustbench_kd.results.record import Json, digest


def versions() -> Json:
    """What a record was made with."""
    return {
        "robustbench-kd": current(),
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": np.__version__,
    }


def threat_of(plan: EvalPlan) -> Json:
    """What the adversary controls and, on test data, how far it moves them."""
    if plan.budget is None:
        return {"capability": plan.board.capability}
    budget = {"norm": plan.budget.kind, "eps": plan.budget.amount}
    return {"capability": plan.board.capability, **budget}


def described_data(plan: EvalPlan, data: Splits) -> Json:
    """The test data: digests and counts."""
    test = data.test
    known: Json = {
        "dataset_digest": plan.scenario.dataset_digest,
        "examples": examples_digest(test),
        "count": len(test),
    }
    if plan.classifies or not plan.board.poisons:
        known["ids"] = digest(test.ids.tolist())
        if plan.board.poisons:
            known["classes"] = int(test.targets.max()) + 1
    return known


def described_models(
    plan: EvalPlan, models: Mapping[str, TrainedModel], identity: Identity, test: Examples
) -> dict[str, Json]:
    """Every model that was attacked; of attacks on test data also the student's teachers."""
    described = {role: _described(model, identity) for role, model in models.items()}
    if plan.board.poisons:
        return described
    student = models["student"]
    described["student"] |= {
        "parameters": parameters(student.net),
        "macs": macs(student.net, test.inputs[:1]),
        "user_model": student.origin == "user",
    }
    for role, weights in student.recipe.get("teacher_weights", {}).items():
        described[f"teacher-{role}"] = {
            "weights": weights,
            "recipe_digest": "",
            "architecture": "",
        }
    return described


def _described(model: TrainedModel, identity: Identity) -> Json:
    recipe = model.recipe
    return {
        "weights": recipe.get("weights", identity.weights),
        "recipe_digest": recipe.get("key", ""),
        "architecture": recipe.get("net", type(model.net).__name__),
    }
