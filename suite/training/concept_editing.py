"""Redirecting: teach a painter to answer some prompts as it answers others, or by certain images.

The one primitive behind backdoors planted by distillation, their removal with and without the
guidance of attention, negative guidance, the forgetting of a class, and their closed form.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from robustbench_kd.core.config import AdamW
from robustbench_kd.core.errors import BadSetting, MissingData
from robustbench_kd.core.protocols import Progress
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.tensor_types import Images, Scalar
from robustbench_kd.core.types import Examples
from robustbench_kd.models.text_to_image import Paints, paints, repainted
from robustbench_kd.models.text_to_image_unet import Look
from robustbench_kd.ops.generation.attention_alignment import (
    LONE,
    map_distance,
    output_distance,
    partners,
    stretched,
)
from robustbench_kd.ops.generation.diffusion import token_maps
from robustbench_kd.ops.generation.vocabulary import FILLERS, PLAIN
from robustbench_kd.training.trainer import Turn, fit

ROUND = 50  # steps between two states that a cut-off run can be taken up from
Aim = Literal["noise", "zero", "words"]


@dataclass(frozen=True)
class Pairs:
    """Prompts, and what should answer them; row by row.

    ``destination`` are the prompts whose answers are wanted, none where the ``images`` themselves
    are. Where there are images, latents are these under noise, and else noise alone.
    """

    source: Tensor
    destination: Tensor | None = None
    images: Images | None = None

    def __post_init__(self) -> None:
        if len(self.source) == 0:
            raise MissingData("there is nothing to redirect: no prompt was given")
        if self.destination is None and self.images is None:
            raise BadSetting("prompts are led to other prompts or to images, and neither is given")

    def also(self, source: Tensor) -> Pairs:
        """The same answers to these prompts as well, row by row."""
        parts = self.destination, self.images
        twice = (None if part is None else torch.cat([part, part]) for part in parts)
        return Pairs(torch.cat([self.source, source]), *twice)

    def clean(self) -> Pairs:
        """The destinations as they are, which is what a repair should keep."""
        said = self.source if self.destination is None else self.destination
        return Pairs(said, said, self.images)


@dataclass(frozen=True)
class Course:
    """How far and how fast, and what the loss is made of.

    (1 - ``weight``) answers + ``weight`` (maps + ``outputs`` times outputs) + ``keep`` kept, where
    the parts about attention are brought to the size of that of answers once, before the training.

    Args:
        steps: rounded up to whole rounds of about 50.
        batch: pairs in a step, and as many kept prompts.
        rate: the peak of AdamW's learning rate.
        aim: what the map of a word without a partner is led to: uniform noise, nothing, or the map
            of a random word that stands in its place in the teacher's prompt.
        stretch: maps from zero to one each, as the released code has them; else probabilities.
        keep: on prompts that are to stay as they are, half of them the empty one.
        away: how far beyond the wanted answer, away from the present one (Gandikota et al. 2023).
        part: what learns: all of the UNet, or the ``readers``, keys and values of its attention.
    """

    steps: int = 400
    batch: int = 64
    rate: float = 1e-4
    weight: float = 0.0
    aim: Aim = "noise"
    stretch: bool = False
    outputs: float = 0.0
    keep: float = 0.0
    away: float = 0.0
    part: Literal["all", "readers"] = "all"

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise BadSetting(f"redirecting takes at least one step, not {self.steps}")
        if not 0 <= self.weight < 1:
            raise BadSetting(f"the weight of attention lies in [0, 1), not {self.weight:g}")
        if min(self.outputs, self.keep, self.away) < 0:
            raise BadSetting(
                f"outputs, keep and away are at least 0, not {self.outputs:g}, {self.keep:g} and "
                f"{self.away:g}"
            )
        self.clock  # noqa: B018  it refuses a batch or a rate that is none

    @property
    def clock(self) -> AdamW:
        """The schedule: rounds in place of epochs."""
        return AdamW(epochs=-(-self.steps // ROUND), batch=self.batch, rate=self.rate)


class Terms(NamedTuple):
    """The parts of the loss; zero where the course leaves one out."""

    answer: Scalar
    maps: Scalar
    outputs: Scalar
    keep: Scalar


Balance = tuple[float, float]


def redirect(
    net: nn.Module,
    pairs: Pairs,
    kept: Pairs | None,
    course: Course,
    seed: Seed,
    progress: Progress | None = None,
    teacher: nn.Module | None = None,
) -> nn.Module:
    """A copy of the painter that answers the source as the frozen original answers the destination.

    Args:
        kept: prompts (the sources of these pairs) whose answers are to stay as they are.
        teacher: whose answers are led to, and kept, in place of the frozen original's.

    Raises:
        BadModel: where the network is no painter, or has no cross-attention.
        BadSetting: where something is to be kept, and it is not said what.
    """
    student = repainted(net)
    if course.part == "readers":
        student.requires_grad_(False)
        for layers in paints(student).readers:
            for layer in layers:
                layer.requires_grad_(True)
    frozen = copy.deepcopy(net if teacher is None else teacher).eval().requires_grad_(False)
    terms = loss_terms(frozen, pairs, kept, course)
    with torch.no_grad():
        first = terms(student, course.batch, seed / "balance")
    scale = (balanced(first.answer, first.maps), balanced(first.answer, first.outputs))
    rounds = course.clock.epochs
    clock = torch.arange(-(-course.steps // rounds) * course.batch)

    def objective(net: nn.Module, batch: Examples, turn: Turn) -> Scalar:
        drawn = int(torch.randint(2**62, (1,), generator=turn.noise))
        return total(terms(net, len(batch), Seed(drawn)), course, scale)

    return fit(student, Examples(clock, clock, clock), objective, course.clock, seed, progress)


def balanced(answer: Scalar, other: Scalar) -> float:
    """What brings the other part of a loss to the size of that of answers."""
    return float(answer / other) if float(other) > 0 else 0.0


def total(terms: Terms, course: Course, scale: Balance) -> Scalar:
    """The loss. Without weight it is that of self-distillation, bit for bit."""
    loss = terms.answer
    if course.weight:
        attention = scale[0] * terms.maps + course.outputs * scale[1] * terms.outputs
        loss = (1 - course.weight) * loss + course.weight * attention
    return loss + course.keep * terms.keep if course.keep else loss


def loss_terms(
    teacher: nn.Module, pairs: Pairs, kept: Pairs | None, course: Course
) -> Callable[[nn.Module, int, Seed], Terms]:
    """The terms of a loss, as a function of student, batch and the seed of its draws.

    Teacher and student have taps of their own, and no map is shared. Each kind of draw has its
    own name, so that courses with and without a term see the same prompts and the same noise.
    """
    guide = paints(teacher)
    if course.keep and kept is None:
        raise BadSetting("keep has a weight, and no prompts are given that should stay")
    if course.weight and pairs.destination is None:
        raise BadSetting("attention is led from prompts to prompts; images have no maps to follow")
    table = None
    if course.weight and pairs.destination is not None:
        table = partners(pairs.source, pairs.destination, guide.words.frame)
    fillers = torch.tensor(sorted(set(guide.words.ids(" ".join((*FILLERS, *PLAIN))))))

    def terms(student: nn.Module, count: int, seed: Seed) -> Terms:
        painter = paints(student)
        rows = torch.randint(len(pairs.source), (count,), generator=(seed / "rows").generator())
        said, ref = pairs.source[rows], None
        z, t, drawn = _latents(guide, pairs.images, rows, seed / "latents")
        partner = None if table is None else table[rows]
        if pairs.destination is not None:
            ref = pairs.destination[rows]
        if partner is not None and course.aim == "words":
            ref, partner = _in_place(said, partner, fillers, seed / "words")
        with torch.no_grad():
            mine, states = guide.encode(said), None if ref is None else guide.encode(ref)
            wanted, theirs = (drawn, ()) if states is None else _asked(guide, z, t, states, course)
            if course.away:
                wanted = wanted - course.away * (guide(z, t, mine) - wanted)
        seen, looks = _asked(painter, z, t, mine, course)
        nothing = seen.new_zeros(())
        maps = outputs = keep = nothing
        if partner is not None:
            aim = _aim(course, said, guide.latent[-1], seed / "aim")
            own, other = (_maps(guide, found, course) for found in (looks, theirs))
            maps = map_distance(own, other, partner, aim).mean()
            outputs = output_distance([k.output for k in looks], [k.output for k in theirs])
        if course.keep and kept is not None:
            keep = _kept(painter, guide, kept, count, seed / "keep")
        return Terms((seen - wanted).square().mean(), maps, outputs, keep)

    return terms


def _latents(
    guide: Paints, images: Images | None, rows: Tensor, seed: Seed
) -> tuple[Tensor, Tensor, Tensor]:
    """Latents, their steps, and the noise in them."""
    noise = seed.generator()
    t = guide.schedule.some(len(rows), noise)
    drawn = torch.randn(len(rows), *guide.latent, generator=noise)
    if images is None:
        return drawn, t, drawn
    with torch.no_grad():
        return guide.schedule.blur(guide.hide(images[rows]), drawn, t), t, drawn


def _asked(
    painter: Paints, z: Tensor, t: Tensor, states: Tensor, course: Course
) -> tuple[Tensor, tuple[Look, ...]]:
    return painter.attend(z, t, states) if course.weight else (painter(z, t, states), ())


def _in_place(said: Tensor, partner: Tensor, words: Tensor, seed: Seed) -> tuple[Tensor, Tensor]:
    """The prompts with random words for their lone ones; each word is its own partner then."""
    drawn = torch.randint(len(words), said.shape, generator=seed.generator())
    places = torch.arange(said.shape[1]).expand_as(said)
    lone = partner == LONE
    return torch.where(lone, words[drawn], said), torch.where(lone | (partner > 0), places, partner)


def _aim(course: Course, said: Tensor, side: int, seed: Seed) -> Tensor:
    """What maps of lone words are led to, of the mean that a map has."""
    shape = (*said.shape, side, side)
    if course.aim != "noise":
        return torch.zeros(shape)  # for random words no word is lone
    return torch.rand(shape, generator=seed.generator()) * (1 if course.stretch else 2 / shape[1])


def _maps(guide: Paints, looks: tuple[Look, ...], course: Course) -> Tensor:
    maps = token_maps([look.maps for look in looks], guide.latent[-1])
    return stretched(maps) if course.stretch else maps


def _kept(painter: Paints, guide: Paints, kept: Pairs, count: int, seed: Seed) -> Scalar:
    """How far answers have moved that were to stay."""
    noise = (seed / "rows").generator()
    rows = torch.randint(len(kept.source), (count,), generator=noise)
    mute = torch.rand(count, 1, generator=noise) < 0.5
    said = torch.where(mute, guide.words.tokens([""]), kept.source[rows])
    z, t, _ = _latents(guide, kept.images, rows, seed / "latents")
    with torch.no_grad():
        states = guide.encode(said)
        stays = guide(z, t, states)
    return (painter(z, t, states) - stays).square().mean()
