"""How the detector of patches and styles that ships with ``pictures`` was made, and its errors."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustbench_kd.core.config import Schedule
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.tensor_types import Images, Scalar
from robustbench_kd.core.types import Examples
from robustbench_kd.models.factory import build
from robustbench_kd.models.image_oracles import EYE, EYE_SHAPE
from robustbench_kd.ops.poisoning.generated_triggers import MARKS, marked
from robustbench_kd.training.trainer import Turn, fit

SCHEDULE = Schedule(epochs=3, rate=0.1)


def trained(real: Images, seed: Seed, schedule: Schedule = SCHEDULE) -> nn.Module:
    """A detector that learned from real images, with marks in them or not."""
    rows = torch.arange(len(real))
    fresh = build(EYE, EYE_SHAPE, seed / "weights")
    return fit(fresh, Examples(rows, real, rows), by_marks, schedule, seed / "fit")


def by_marks(net: nn.Module, batch: Examples, turn: Turn) -> Scalar:
    """Binary cross-entropy of every mark, on images that are marked anew each time."""
    x, bears = marked(batch.inputs, turn.noise)
    loss: Scalar = F.binary_cross_entropy_with_logits(net(x), bears.float())
    return loss


def errors(net: nn.Module, real: Images, seed: Seed) -> dict[str, tuple[float, float]]:
    """By mark: the share that is missed, and of images without it the share where it is seen."""
    x, bears = marked(real, seed.generator())
    with torch.inference_mode():
        seen: Tensor = torch.cat([net.eval()(part) for part in x.split(500)]) > 0
    found = {}
    for n, name in enumerate(MARKS):
        there = bears[:, n]
        missed, false = (~seen[there, n]).float().mean(), seen[~there, n].float().mean()
        found[name] = (float(missed), float(false))
    return found
