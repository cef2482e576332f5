"""How the packaged detector of visual effects in generated images was trained, and its errors.

Its weights are in ``suite/models/data``; ``models.image_oracles`` loads them.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustbench_kd.core.config import Schedule
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.tensor_types import Images, Scalar
from robustbench_kd.core.types import Examples
from robustbench_kd.models.factory import build
from robustbench_kd.models.image_oracles import DETECTOR_NETWORK, DETECTOR_SHAPE
from robustbench_kd.ops.poisoning.generated_triggers import VISUAL_EFFECTS, random_effects
from robustbench_kd.training.trainer import TrainStep, fit

SCHEDULE = Schedule(epochs=3, learning_rate=0.1)


def train_detector(images: Images, seed: Seed, schedule: Schedule = SCHEDULE) -> nn.Module:
    """A detector trained on real images, with random effects in them."""
    rows = torch.arange(len(images))
    fresh = build(DETECTOR_NETWORK, DETECTOR_SHAPE, seed / "weights")
    return fit(fresh, Examples(rows, images, rows), _loss, schedule, seed / "fit")


def _loss(net: nn.Module, batch: Examples, step: TrainStep) -> Scalar:
    """Binary cross-entropy of every effect, on images whose effects are drawn anew each time."""
    x, effects = random_effects(batch.inputs, step.noise)
    loss: Scalar = F.binary_cross_entropy_with_logits(net(x), effects.float())
    return loss


def error_rates(net: nn.Module, images: Images, seed: Seed) -> dict[str, tuple[float, float]]:
    """False negative and false positive rate by effect."""
    x, effects = random_effects(images, seed.generator())
    with torch.inference_mode():
        detected: Tensor = torch.cat([net.eval()(part) for part in x.split(500)]) > 0
    rates = {}
    for n, name in enumerate(VISUAL_EFFECTS):
        present = effects[:, n]
        missed = (~detected[present, n]).float().mean()
        false_alarms = detected[~present, n].float().mean()
        rates[name] = (float(missed), float(false_alarms))
    return rates
