"""Any attack of torchattacks by the name of its class (Kim 2020)."""

from __future__ import annotations

from typing import Any, Literal

from robustbench_kd.core.config import Budget
from robustbench_kd.core.errors import BadSetting, BrokenPlugin
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.tensor_types import Images
from robustbench_kd.integrations import _arguments
from robustbench_kd.integrations._adapter import Ask, Asked, confined
from robustbench_kd.ops.attacks.targets import Goal

try:
    import torchattacks
except ImportError as why:
    raise BrokenPlugin(
        "torchattacks is not installed; run: pip install 'robustbench-kd[bridges]'"
    ) from why

NAME = "torchattacks"
NORMS = {"linf": "Linf", "l2": "L2"}
SCORES = ("GN", "OnePixel", "Pixle", "SPSA", "Square", "VANILA")  # they never ask for a gradient
COLOUR = ("PIFGSM", "PIFGSMPP", "TIFGSM")  # their kernels are written for three channels


def classes() -> dict[str, type]:
    """Its attacks on a single network, by name; wrappers around other attacks are left out."""
    single = set(torchattacks.__all__) - set(torchattacks.__wrapper__)
    return {name: getattr(torchattacks, name) for name in single}


def check(attack: str, settings: str, budget: Budget) -> None:
    """Raises what ``run`` would raise for a wrong name, argument or norm, before anything is spent.

    Raises:
        UnknownName: for a class that torchattacks does not have.
        BadSetting: for an argument that it does not take, or a ball that it does not know.
    """
    found = _arguments.find(NAME, classes(), attack)
    _arguments.read(found, settings)
    _arguments.expect_ball(NAME, found, budget.kind, _moves(found))


def run(
    attack: str, settings: str, logits: Ask, x: Images, goal: Goal, budget: Budget, seed: Seed
) -> Images:
    """What the attack returns, as it returns it.

    Raises:
        BadSetting: for a targeted goal of an attack that has no targeted form, or grey images for
            one that is written for colours.
    """
    found = _arguments.find(NAME, classes(), attack)
    if attack in COLOUR and x.shape[1] != 3:
        raise BadSetting(f"{attack} of torchattacks takes only images of three channels")
    model = Asked(logits, x.device)
    values = _arguments.filled(
        found,
        _arguments.read(found, settings),
        budget.amount,
        norm=NORMS[budget.kind],
        seed=seed.number() % 2**31,
        n_classes=_count(found, logits, x),
        verbose=False,
    )
    one = _arguments.made(NAME, found, model, values)
    labels = goal.labels
    if goal.targets is not None:
        if "targeted" not in one.supported_mode:
            raise BadSetting(f"{attack} of torchattacks has no targeted form")
        one.set_mode_targeted_by_label(quiet=True)
        labels = goal.targets
    with confined(NAME, attack, seed):
        z: Images = one(x, labels).detach()
    return z


def sees(attack: str) -> Literal["weights", "scores", "answers"]:
    """What the attack looks at: ``weights`` or ``scores``."""
    return "scores" if attack in SCORES else "weights"


def _moves(found: type) -> str | None:
    """The one norm that bounds it; none where it takes either, or none at all."""
    takes: dict[str, Any] = _arguments.arguments(found)
    if "norm" in takes or not _arguments.has_any(found, _arguments.RADII):
        return None
    return "l2" if "L2" in found.__name__ else "linf"


def _count(found: type, logits: Ask, x: Images) -> int:
    """How many classes there are, asked only for an attack that must be told."""
    return logits(x[:1]).shape[1] if _arguments.has_any(found, ["n_classes"]) else 0
