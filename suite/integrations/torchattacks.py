"""Attacks of torchattacks by the name of their class (Kim 2020)."""

from __future__ import annotations

from typing import Any

from robustbench_kd.core.config import Budget, Knowledge
from robustbench_kd.core.errors import BadSetting, BrokenPlugin
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.tensor_types import Images
from robustbench_kd.integrations import _arguments
from robustbench_kd.integrations._adapter import QueryModule, isolated
from robustbench_kd.ops.attacks.pgd import LogitFunction
from robustbench_kd.ops.attacks.targets import Goal

try:
    import torchattacks
except ImportError as why:
    raise BrokenPlugin(
        "torchattacks is not installed; run: pip install 'robustbench-kd[bridges]'"
    ) from why

LIBRARY = "torchattacks"
NORMS = {"linf": "Linf", "l2": "L2"}
SCORE_BASED = ("GN", "OnePixel", "Pixle", "SPSA", "Square", "VANILA")  # they take no gradient
COLOUR = ("PIFGSM", "PIFGSMPP", "TIFGSM")  # their kernels are written for three channels


def classes() -> dict[str, type]:
    """Its attacks on a single network, by name; wrappers around other attacks are left out."""
    single = set(torchattacks.__all__) - set(torchattacks.__wrapper__)
    return {name: getattr(torchattacks, name) for name in single}


def check(attack: str, settings: str, budget: Budget) -> None:
    """Refuses a wrong name, argument or norm as ``run`` would, before anything is spent.

    Raises:
        UnknownName: for a class that torchattacks does not have.
        BadSetting: for an argument that it does not take, or a norm that it does not support.
    """
    cls = _arguments.find_attack(LIBRARY, classes(), attack)
    _arguments.parse_arguments(cls, settings)
    _arguments.check_norm(LIBRARY, cls, budget.kind, _only_norm(cls))


def run(
    attack: str,
    settings: str,
    logits: LogitFunction,
    x: Images,
    goal: Goal,
    budget: Budget,
    seed: Seed,
) -> Images:
    """What the attack returns, as it returns it.

    Raises:
        BadSetting: for a targeted goal of an attack that has no targeted form, or grey images for
            one that is written for colours.
    """
    cls = _arguments.find_attack(LIBRARY, classes(), attack)
    if attack in COLOUR and x.shape[1] != 3:
        raise BadSetting(f"{attack} of torchattacks takes only images of three channels")
    values = _arguments.with_our_settings(
        cls,
        _arguments.parse_arguments(cls, settings),
        budget.amount,
        norm=NORMS[budget.kind],
        seed=seed.number() % 2**31,
        n_classes=_class_count(cls, logits, x),
        verbose=False,
    )
    instance = _arguments.construct(LIBRARY, cls, QueryModule(logits, x.device), values)
    labels = goal.labels
    if goal.targets is not None:
        if "targeted" not in instance.supported_mode:
            raise BadSetting(f"{attack} of torchattacks has no targeted form")
        instance.set_mode_targeted_by_label(quiet=True)
        labels = goal.targets
    with isolated(LIBRARY, attack, seed):
        z: Images = instance(x, labels).detach()
    return z


def knowledge(attack: str) -> Knowledge:
    """What the attack knows of the model."""
    return "score_based" if attack in SCORE_BASED else "white_box"


def _only_norm(attack: type) -> str | None:
    """The one norm that bounds it; None where it takes either, or has no radius."""
    accepted: dict[str, Any] = _arguments.constructor_arguments(attack)
    if "norm" in accepted or not _arguments.accepts_any(attack, _arguments.RADII):
        return None
    return "l2" if "L2" in attack.__name__ else "linf"


def _class_count(attack: type, logits: LogitFunction, x: Images) -> int:
    """The number of classes, queried only for an attack that takes it."""
    return logits(x[:1]).shape[1] if _arguments.accepts_any(attack, ["n_classes"]) else 0
