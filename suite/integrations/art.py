"""Any evasion of the Adversarial Robustness Toolbox by its class (Nicolae et al. 2018)."""

from __future__ import annotations

import inspect
from functools import cache
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from robustbench_kd.core.config import Budget
from robustbench_kd.core.errors import BadSetting, BrokenPlugin
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.tensor_types import Images
from robustbench_kd.integrations import _arguments
from robustbench_kd.integrations._adapter import Ask, Asked, confined
from robustbench_kd.ops.attacks.targets import Goal

try:
    import art.attacks.evasion as evasions
    from art.attacks.attack import EvasionAttack
    from art.estimators.classification import PyTorchClassifier
    from art.estimators.classification.classifier import ClassGradientsMixin
    from art.estimators.estimator import LossGradientsMixin
except ImportError as why:
    raise BrokenPlugin(
        "the Adversarial Robustness Toolbox is not installed; "
        "run: pip install 'robustbench-kd[bridges]'"
    ) from why

NAME = "ART"
NORMS: dict[str, float] = {"linf": np.inf, "l2": 2}
ANSWERS = ("BoundaryAttack", "GeoDA", "HopSkipJump", "SignOPTAttack")
GRADIENTS = ("AutoAttack", "UniversalPerturbation", "TargetedUniversalPerturbation")
# Not one input after another from scores alone: patches, video, fitted or guided by other inputs,
# or asking for probabilities.
APART = (
    "AdversarialPatch",
    "AdversarialPatchNumpy",
    "AdversarialPatchPyTorch",
    "FeatureAdversariesNumpy",
    "LowProFool",
    "OverTheAirFlickeringPyTorch",
    "VirtualAdversarialMethod",
)


@cache
def classes() -> dict[str, type]:
    """Its evasions of an image classifier in PyTorch, by name."""
    return {name: one for name, one in vars(evasions).items() if _fits(name, one)}


def check(attack: str, settings: str, budget: Budget) -> None:
    """Raises what ``run`` would raise for a wrong name, argument or norm, before anything is spent.

    Raises:
        UnknownName: for a class that ART does not have.
        BadSetting: for an argument that it does not take, or a ball that it does not know.
    """
    found = _arguments.find(NAME, classes(), attack)
    _arguments.read(found, settings)
    bounded = _arguments.has_any(found, ["eps"]) and not _arguments.has_any(found, ["norm"])
    _arguments.expect_ball(NAME, found, budget.kind, "linf" if bounded else None)


def run(
    attack: str, settings: str, logits: Ask, x: Images, goal: Goal, budget: Budget, seed: Seed
) -> Images:
    """What the attack returns, as it returns it; ART works in numpy, so on the CPU.

    Raises:
        BadSetting: for a targeted goal of an attack that has no targeted form.
    """
    found = _arguments.find(NAME, classes(), attack)
    takes = _arguments.arguments(found)
    if goal.targets is not None and "targeted" not in takes:
        raise BadSetting(f"{attack} of ART has no targeted form")
    with torch.no_grad():
        count = logits(x[:1]).shape[1]
    model = PyTorchClassifier(
        Asked(lambda z: logits(z.to(x.device)).to(z.device), torch.device("cpu")),
        loss=nn.CrossEntropyLoss(),
        input_shape=tuple(x.shape[1:]),
        nb_classes=count,
        clip_values=(0.0, 1.0),
        device_type="cpu",
    )
    ours: dict[str, Any] = {
        "targeted": goal.targets is not None,
        "verbose": False,
        "attacker_params": {"verbose": False},
    }
    if isinstance(takes.get("norm"), (int, float)):
        ours["norm"] = NORMS[budget.kind]
    values = _arguments.filled(found, _arguments.read(found, settings), budget.amount, **ours)
    wanted = goal.labels if goal.targets is None else goal.targets
    with confined(NAME, attack, seed):
        one = _arguments.made(NAME, found, model, values)
        z = one.generate(x=x.cpu().numpy(), y=np.eye(count, dtype=np.float32)[wanted.cpu().numpy()])
    return torch.from_numpy(np.asarray(z, dtype=np.float32)).to(x)


def sees(attack: str) -> Literal["weights", "scores", "answers"]:
    """What the attack looks at: ``weights``, ``scores`` or ``answers``."""
    if attack in ANSWERS:
        return "answers"
    needs = _needs(classes()[attack])
    gradients = {ClassGradientsMixin, LossGradientsMixin} & set(needs)
    return "weights" if gradients or attack in GRADIENTS else "scores"


def _needs(one: type) -> tuple[type, ...]:
    needs: tuple[type, ...] = getattr(one, "_estimator_requirements", ())
    return needs


def _fits(name: str, one: object) -> bool:
    """Whether it is an attack that needs no more than our classifier offers, in PyTorch."""
    if not (inspect.isclass(one) and issubclass(one, EvasionAttack)):
        return False
    if "TensorFlow" in name or name in APART:
        return False
    needs = _needs(one)
    offered = bool(needs) and all(issubclass(PyTorchClassifier, need) for need in needs)
    return offered and _arguments.constructible(one)
