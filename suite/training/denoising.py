"""Denoising, the training loss of text-to-image networks."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from robustbench_kd.core.tensor_types import Images, Scalar
from robustbench_kd.core.types import Examples
from robustbench_kd.models.text_to_image import as_text_to_image
from robustbench_kd.ops.generation.diffusion import epsilon_loss
from robustbench_kd.training.trainer import Objective, TrainStep


def denoising_objective(empty: float = 0.1) -> Objective:
    """Denoising of pairs of prompts and images, the training loss of diffusion models.

    Args:
        empty: share of prompts that are replaced by the empty one, which classifier-free guidance
            needs (Ho & Salimans 2022, algorithm 1).
    """

    def loss(net: nn.Module, batch: Examples, step: TrainStep) -> Scalar:
        dropped = torch.rand(len(batch), 1, generator=step.noise) < empty
        empty_prompt = as_text_to_image(net).tokenizer.tokens([""]).to(batch.inputs)
        prompts = torch.where(dropped, empty_prompt, batch.inputs)
        return denoising_loss(net, prompts, batch.targets, step)

    return loss


def denoising_loss(net: nn.Module, prompts: Tensor, images: Images, step: TrainStep) -> Scalar:
    """The mean squared error of the predicted noise in images with these prompts."""
    network = as_text_to_image(net)
    states = network.encode(prompts)
    errors = epsilon_loss(
        lambda z, t: network(z, t, states), network.to_latents(images), network.schedule, step.noise
    )
    return errors.mean()
