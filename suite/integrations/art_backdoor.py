"""The Adversarial Robustness Toolbox's backdoor on images, by the name of its trigger."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch

from robustbench_kd.core.errors import BrokenPlugin
from robustbench_kd.core.tensor_types import Images

try:
    from art.attacks.poisoning import PoisoningAttackBackdoor
    from art.attacks.poisoning.perturbations.image_perturbations import (
        add_pattern_bd,
        add_single_bd,
    )
except ImportError as why:
    raise BrokenPlugin(
        "the Adversarial Robustness Toolbox is not installed; "
        "run: pip install 'robustbench-kd[bridges]'"
    ) from why

Perturbation = Literal["pattern", "single"]
TRIGGERS = {"pattern": add_pattern_bd, "single": add_single_bd}


def stamped(x: Images, perturbation: Perturbation, distance: int) -> Images:
    """Images with the library's trigger, ``distance`` pixels from the lower right corner.

    It works on arrays with channels last, and poisons whatever it is handed; which images those
    are, and under which label they are planted, is the attack's own affair.
    """
    if len(x) == 0:
        return x
    trigger = TRIGGERS[perturbation]
    attack = PoisoningAttackBackdoor(lambda z: trigger(z, distance=distance))
    last = np.ascontiguousarray(x.permute(0, 2, 3, 1).cpu().numpy())
    moved, _ = attack.poison(last, y=np.zeros((len(last), 1)))
    return torch.from_numpy(np.ascontiguousarray(moved.transpose(0, 3, 1, 2))).to(x)
