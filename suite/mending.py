"""Training a given network a little further, on the few clean images that a defender has."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import nn

from robustbench_kd.lessons import by_labels
from robustbench_kd.protocols import Progress
from robustbench_kd.seed import Seed
from robustbench_kd.shapes import Images, Scalar
from robustbench_kd.train import Objective, Turn, fit
from robustbench_kd.types import Examples, Schedule


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


def shifted(x: Images, most: int, noise: torch.Generator) -> Images:
    """Each image moved by a draw from -most..most pixels along both axes; black moves in."""
    if most == 0:
        return x
    count, _, high, wide = x.shape
    down, right = torch.randint(0, 2 * most + 1, (2, count, 1), generator=noise).to(x.device)
    rows = (down + torch.arange(high, device=x.device))[:, :, None]
    columns = (right + torch.arange(wide, device=x.device))[:, None, :]
    which = torch.arange(count, device=x.device)[:, None, None]
    padded = F.pad(x, (most, most, most, most))
    return padded.movedim(1, -1)[which, rows, columns].movedim(-1, 1).contiguous()
