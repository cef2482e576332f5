"""What attacks on the training images share: how many images they poison, which, and their state.

The keys of a state are the names of the first release: trained models are stored with them.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from robustbench_kd.core.config import REACHES_STUDENT, REACHES_TEACHER, Capability
from robustbench_kd.core.errors import BadSetting
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.types import Examples

AttackState = Mapping[str, Tensor]
"""What an attack keeps from the poisoning on: small, contiguous tensors, stored as safetensors."""

POISON_IDS = "planted"
"""Key of the ids of the poisoned images; every attack on training data has it."""
COVER_IDS = "covers"
"""Key of the ids of the cover images."""
CLASS_COUNT = "classes"
"""Key of the number of classes, from which all-to-all backdoors know their target labels."""
TARGET_ID = "victim"
"""Key of the id of the test image that a targeted poisoning is about."""
TARGET_CLASS = "wanted"
"""Key of the class that it is to be assigned."""


def check_poisoning(attack: str, rate: float, capability: Capability) -> None:
    """Refuses a rate that is no share, and a capability that reaches no training data.

    Raises:
        BadSetting: naming what would be right.
    """
    if not 0 < rate <= 1:
        raise BadSetting(f"rate is a share of the training set in (0, 1], not {rate:g}")
    known = dict.fromkeys((*REACHES_STUDENT, *REACHES_TEACHER))
    if capability not in known:
        raise BadSetting(
            f"{attack} poisons training data, so its capability is one of {', '.join(known)}, "
            f"not {capability}"
        )


def class_count(train: Examples) -> int:
    """The number of classes; 0 where there are no images."""
    return int(train.targets.max()) + 1 if len(train) else 0


def check_class(number: int, train: Examples) -> None:
    """Refuses a class that these images do not have.

    Raises:
        BadSetting: naming the last class.
    """
    if not 0 <= number < class_count(train):
        raise BadSetting(f"there is no class {number}; the last one is {class_count(train) - 1}")


def poison_count(attack: str, rate: float, train: Examples, only: int | None = None) -> int:
    """How many images a rate amounts to.

    Args:
        attack: its name, for the refusal.
        rate: share of the whole training set.
        only: the one class whose images may be poisoned; None for all.

    Raises:
        BadSetting: where that is no image, or more than the class has.
    """
    count = round(rate * len(train))
    if count < 1:
        lowest = f"; the lowest that poisons one is {1 / len(train):.2g}" if len(train) else ""
        raise BadSetting(f"a rate of {rate:g} poisons none of {len(train)} images{lowest}")
    available = len(train) if only is None else int((train.targets == only).sum())
    if count > available:
        raise BadSetting(
            f"{attack} poisons images of class {only} only, and there are {available}: the rate "
            f"can be at most {available / len(train):.2g}, not {rate:g}"
        )
    return count


def draw_rows(count: int, train: Examples, only: int | None, seed: Seed) -> Tensor:
    """Positions of the images to poison, drawn without replacement; of one class if it is given."""
    rows = torch.arange(len(train)) if only is None else (train.targets == only).nonzero()[:, 0]
    return rows[torch.randperm(len(rows), generator=seed.generator())[:count]]
