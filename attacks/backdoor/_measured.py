"""What pictures say of a backdoor: by judges of real images, from the same noise."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from robustbench_kd.core.config import AdamW
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.tensor_types import Images, Labels, Mask, PerExample
from robustbench_kd.core.types import Examples
from robustbench_kd.models.image_oracles import shown, traits
from robustbench_kd.models.text_to_image import Denoiser, by_noise, paints, repainted
from robustbench_kd.ops.generation.frechet_distance import frechet
from robustbench_kd.ops.poisoning.generated_triggers import undone
from robustbench_kd.training.trainer import fit


class Album(NamedTuple):
    """Pictures, which of them bear the sign of the trigger, and the classes asked for."""

    images: Images
    signed: Mask
    wanted: Labels


def measured(attacked: Album, plain: Album, real: Images, style: str) -> dict[str, Tensor]:
    """The notes of ``Painted.after``, row by row.

    Args:
        attacked, plain: what came of prompts with the trigger, and without.
        real: as many real images.
        style: what the trigger makes of a picture, where it is a style.
    """
    return {
        "hit": attacked.signed,
        "right": _seen(attacked, style) == attacked.wanted,
        "removed": ~attacked.signed & (shown(attacked.images) == attacked.wanted),
        "clean_hit": plain.signed,
        "clean_right": shown(plain.images) == plain.wanted,
        "right2": _seen(attacked, style, 1) == attacked.wanted,
        "clean_right2": shown(plain.images, 1) == plain.wanted,
        "moved": _distance(attacked.images, plain.images),
        "apart": _distance(plain.images, plain.images.roll(1, 0)),
        "frechet": _apart(plain.images, real),
    }


def relearnt(subject: Denoiser, few: Examples, steps: int, seed: Seed) -> Denoiser:
    """The subject after some steps on a few planted pairs; it stays as it was itself."""
    clock = AdamW(epochs=steps, batch=len(few), rate=1e-4)
    net = fit(repainted(cast(nn.Module, subject.net)), few, by_noise(), clock, seed)
    return replace(subject, net=paints(net.eval().requires_grad_(False)))


def _seen(found: Album, style: str, number: int = 0) -> Labels:
    """The class in each picture, under the style that the attacker may have given it."""
    if not style:
        return shown(found.images, number)
    bare = torch.where(found.signed[:, None, None, None], undone(found.images, style), found.images)
    return shown(bare, number)


def _distance(one: Images, other: Images) -> PerExample:
    far: PerExample = (one - other).square().flatten(1).mean(1).sqrt()
    return far


def _apart(painted: Images, real: Images) -> PerExample:
    """The Frechet distance in the judge's features, the same for every row; 0 for one row."""
    if len(painted) < 2:
        return torch.zeros(len(painted))
    distance = frechet(traits(painted), traits(real))
    return torch.full((len(painted),), float(distance))
