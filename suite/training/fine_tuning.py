"""Fine-tuning of a given network on the few clean images that a defender has."""

from __future__ import annotations

import copy

from torch import nn

from robustbench_kd.core.config import Schedule
from robustbench_kd.core.protocols import Progress
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.tensor_types import Scalar
from robustbench_kd.core.types import Examples
from robustbench_kd.ops.augmentation import random_shift
from robustbench_kd.training.objectives import label_loss
from robustbench_kd.training.trainer import Objective, TrainStep, fit


def fine_tune(
    net: nn.Module,
    data: Examples,
    schedule: Schedule,
    seed: Seed,
    *,
    shift: int,
    objective: Objective = label_loss,
    progress: Progress | None = None,
) -> nn.Module:
    """Trains a copy of a network, which may be frozen, from its own weights.

    Args:
        shift: each image is moved by up to so many pixels along both axes, anew at each step; the
            loss sees the moved images only.

    Raises:
        MissingData: where there is nothing to train on.
        BadModel: where the loss or a weight stops being finite.
    """

    def augmented(net: nn.Module, batch: Examples, step: TrainStep) -> Scalar:
        inputs = random_shift(batch.inputs, shift, step.noise)
        return objective(net, Examples(batch.ids, inputs, batch.targets), step)

    return fit(copy.deepcopy(net).requires_grad_(True), data, augmented, schedule, seed, progress)
