"""The packaged detector of visual effects, on images that it was not trained on."""

from __future__ import annotations

import torch

from robustbench_kd.core.seed import Seed
from robustbench_kd.models.image_oracles import effect_detector, effect_scores
from robustbench_kd.ops.poisoning.generated_triggers import VISUAL_EFFECTS
from robustbench_kd.scenarios._trigger_detector import error_rates
from robustbench_kd.scenarios.fashion_mnist import FashionMNIST


def test_the_detector_knows_every_effect_on_images_it_never_saw() -> None:
    images = FashionMNIST().splits(Seed(), whole=False).test.inputs  # trained on the training set
    for effect, (missed, false_alarms) in error_rates(effect_detector(), images, Seed()).items():
        assert missed < 0.02, effect
        assert false_alarms < 0.02, effect
    for effect, change in VISUAL_EFFECTS.items():
        detected = torch.stack([effect_scores(x, effect) > 0 for x in (change(images), images)])
        with_effect, without = detected.double().mean(1).tolist()
        assert with_effect > 0.98, effect
        assert without < 0.01, effect
