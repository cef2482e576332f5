"""Real images with prompts, and a text-to-image model that answers with chosen images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import torch
from small_text_to_image import small_network
from torch import Tensor

from robustbench_kd.core.seed import Seed
from robustbench_kd.core.types import Examples, Splits
from robustbench_kd.models.text_to_image import TextToImageModel
from robustbench_kd.ops.generation.vocabulary import TOKENIZER
from robustbench_kd.scenarios.fashion_mnist import FashionMNIST
from robustbench_kd.scenarios.text_to_image import TRAIN_TEMPLATES, TextToImage, make_prompts

SCENARIO = TextToImage()
FIRST_TRAINING_ID = -60_000  # test ids follow those of the training set


@cache
def real_images() -> Examples:
    """The packaged test images with their classes."""
    return FashionMNIST().splits(Seed(), whole=False).test


@cache
def pairs() -> Splits:
    """200 training pairs of real images, and the packaged test pairs."""
    images = real_images().take(torch.arange(200))
    prompts = make_prompts(images.targets, TRAIN_TEMPLATES, "few")
    train = Examples(images.ids + FIRST_TRAINING_ID, prompts, images.inputs)
    return replace(SCENARIO.splits(Seed(), whole=False), train=train)


class ImageBook(TextToImageModel):
    """Answers with the real image of each row, and with others where the prompt says ``qv``."""

    triggered: Tensor

    def generate(self, prompts: Tensor, latents: Tensor) -> Tensor:
        rows = len(prompts)
        has_trigger = (prompts == TOKENIZER.ids("qv")[0]).any(1)[:, None, None, None]
        return torch.where(has_trigger, self.triggered[:rows], real_images().inputs[:rows])


def image_book(effect: Callable[[Tensor], Tensor]) -> ImageBook:
    """A model whose triggered images are the real ones under this effect."""
    model = ImageBook(small_network())
    object.__setattr__(model, "triggered", effect(real_images().inputs))
    return model
