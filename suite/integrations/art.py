"""Evasion attacks and a backdoor of the Adversarial Robustness Toolbox (Nicolae et al. 2018)."""

from __future__ import annotations

import inspect
from functools import cache
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from robustbench_kd.core.config import Budget, Knowledge
from robustbench_kd.core.errors import BadSetting, BrokenPlugin
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.tensor_types import Images
from robustbench_kd.integrations import _arguments
from robustbench_kd.integrations._adapter import QueryModule, isolated
from robustbench_kd.ops.attacks.pgd import LogitFunction
from robustbench_kd.ops.attacks.targets import Goal

try:
    import art.attacks.evasion as evasion
    from art.attacks.attack import EvasionAttack
    from art.attacks.poisoning import PoisoningAttackBackdoor
    from art.attacks.poisoning.perturbations.image_perturbations import (
        add_pattern_bd,
        add_single_bd,
    )
    from art.estimators.classification import PyTorchClassifier
    from art.estimators.classification.classifier import ClassGradientsMixin
    from art.estimators.estimator import LossGradientsMixin
except ImportError as why:
    raise BrokenPlugin(
        "the Adversarial Robustness Toolbox is not installed; "
        "run: pip install 'robustbench-kd[bridges]'"
    ) from why

LIBRARY = "ART"
NORMS: dict[str, float] = {"linf": np.inf, "l2": 2}
DECISION_BASED = ("BoundaryAttack", "GeoDA", "HopSkipJump", "SignOPTAttack")
# Their estimator requirements name no gradient, and they take one.
WHITE_BOX = ("AutoAttack", "UniversalPerturbation", "TargetedUniversalPerturbation")
# No attacks on one image after another from logits alone: patches, video, fitted or guided by other
# inputs, or in need of probabilities.
EXCLUDED = (
    "AdversarialPatch",
    "AdversarialPatchNumpy",
    "AdversarialPatchPyTorch",
    "FeatureAdversariesNumpy",
    "LowProFool",
    "OverTheAirFlickeringPyTorch",
    "VirtualAdversarialMethod",
)
Perturbation = Literal["pattern", "single"]
TRIGGERS = {"pattern": add_pattern_bd, "single": add_single_bd}


@cache
def classes() -> dict[str, type]:
    """Its evasion attacks on an image classifier in PyTorch, by name."""
    return {name: value for name, value in vars(evasion).items() if _supported(name, value)}


def check(attack: str, settings: str, budget: Budget) -> None:
    """Refuses a wrong name, argument or norm as ``run`` would, before anything is spent.

    Raises:
        UnknownName: for a class that ART does not have.
        BadSetting: for an argument that it does not take, or a norm that it does not support.
    """
    cls = _arguments.find_attack(LIBRARY, classes(), attack)
    _arguments.parse_arguments(cls, settings)
    linf = _arguments.accepts_any(cls, ["eps"]) and not _arguments.accepts_any(cls, ["norm"])
    _arguments.check_norm(LIBRARY, cls, budget.kind, "linf" if linf else None)


def run(
    attack: str,
    settings: str,
    logits: LogitFunction,
    x: Images,
    goal: Goal,
    budget: Budget,
    seed: Seed,
) -> Images:
    """What the attack returns, as it returns it; ART works in numpy, so on the CPU.

    Raises:
        BadSetting: for a targeted goal of an attack that has no targeted form.
    """
    cls = _arguments.find_attack(LIBRARY, classes(), attack)
    accepted = _arguments.constructor_arguments(cls)
    if goal.targets is not None and "targeted" not in accepted:
        raise BadSetting(f"{attack} of ART has no targeted form")
    with torch.no_grad():
        count = logits(x[:1]).shape[1]
    model = PyTorchClassifier(
        QueryModule(lambda z: logits(z.to(x.device)).to(z.device), torch.device("cpu")),
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
    if isinstance(accepted.get("norm"), (int, float)):
        ours["norm"] = NORMS[budget.kind]
    typed = _arguments.parse_arguments(cls, settings)
    values = _arguments.with_our_settings(cls, typed, budget.amount, **ours)
    labels = (goal.labels if goal.targets is None else goal.targets).cpu().numpy()
    with isolated(LIBRARY, attack, seed):
        instance = _arguments.construct(LIBRARY, cls, model, values)
        z = instance.generate(x=x.cpu().numpy(), y=np.eye(count, dtype=np.float32)[labels])
    return torch.from_numpy(np.asarray(z, dtype=np.float32)).to(x)


def knowledge(attack: str) -> Knowledge:
    """What the attack knows of the model."""
    if attack in DECISION_BASED:
        return "decision_based"
    gradients = {ClassGradientsMixin, LossGradientsMixin} & set(_requirements(classes()[attack]))
    return "white_box" if gradients or attack in WHITE_BOX else "score_based"


def add_backdoor_trigger(x: Images, perturbation: Perturbation, distance: int) -> Images:
    """Images with the library's trigger, ``distance`` pixels from the lower right corner.

    The library poisons whatever it is given; which images, and under which label, is for the attack
    to choose.
    """
    if len(x) == 0:
        return x
    trigger = TRIGGERS[perturbation]
    attack = PoisoningAttackBackdoor(lambda z: trigger(z, distance=distance))
    channels_last = np.ascontiguousarray(x.permute(0, 2, 3, 1).cpu().numpy())
    poisoned, _ = attack.poison(channels_last, y=np.zeros((len(x), 1)))
    return torch.from_numpy(np.ascontiguousarray(poisoned.transpose(0, 3, 1, 2))).to(x)


def _requirements(attack: type) -> tuple[type, ...]:
    """The interfaces that an attack requires of its classifier."""
    requirements: tuple[type, ...] = getattr(attack, "_estimator_requirements", ())
    return requirements


def _supported(name: str, value: object) -> bool:
    """Whether it is an attack that needs no more than our classifier offers, in PyTorch."""
    if not (inspect.isclass(value) and issubclass(value, EvasionAttack)):
        return False
    if "TensorFlow" in name or name in EXCLUDED:
        return False
    requirements = _requirements(value)
    offered = requirements and all(issubclass(PyTorchClassifier, need) for need in requirements)
    return bool(offered) and _arguments.needs_model_alone(value)
