"""Training a given network a little further, on the few clean images that a defender has."""

from __future__ import annotations

import copy

from torch import nn

from robustbench_kd.core.config import Schedule
from robustbench_kd.core.protocols import Progress
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.tensor_types import Scalar
from robustbench_kd.core.types import Examples
from robustbench_kd.ops.augmentation import shifted
from robustbench_kd.training.objectives import by_labels
from robustbench_kd.training.trainer import Objective, Turn, fit


def fine_tune(
    net: nn.Module,
    data: Examples,
    schedule: Schedule,
    seed: Seed,
    *,
    shift: int,
    objective: Objective = by_labels,
    progress: Progress | None = None,
) -> nn.Module:
    """A copy of a network, which may be frozen, trained on from its own weights.

    Args:
        shift: each image is moved by up to so many pixels each way, anew in each epoch; the loss
            sees the moved images alone.

    Raises:
        MissingData: where there is nothing to train on.
        BadModel: where the loss or a weight stops being finite.
    """

    def moved(net: nn.Module, batch: Examples, turn: Turn) -> Scalar:
        inputs = shifted(batch.inputs, shift, turn.noise)
        return objective(net, Examples(batch.ids, inputs, batch.targets), turn)

    start = copy.deepcopy(net).requires_grad_(True)
    return fit(start, data, moved, schedule, seed, progress)
