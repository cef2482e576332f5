"""Pictures of Fashion-MNIST by prompt: a small model with cross-attention paints what is asked.

Prompts are inputs and images are targets. The class that was asked for is read off the prompt
(``ops.vocabulary.class_of``); what an image shows is said by judges, classifiers that no painter
ever saw.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import ClassVar, cast

import torch
from safetensors.torch import load
from torch import Tensor, nn

from robustbench_kd.core.config import AdamW, Schedule
from robustbench_kd.core.errors import BadSetting, MissingData
from robustbench_kd.core.protocols import Progress
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.tensor_types import Images, Labels, Mask, Scalar
from robustbench_kd.core.types import Examples, Splits
from robustbench_kd.models.image_oracles import shown
from robustbench_kd.models.statistics import weights_digest
from robustbench_kd.models.text_to_image import Denoiser, denoiser, noise_error
from robustbench_kd.models.text_to_image_unet import Painter, Sizes, painter
from robustbench_kd.ops.generation.diffusion import NoiseSchedule
from robustbench_kd.ops.generation.prompts import UNKNOWN, inserted, lengths, one_of, without
from robustbench_kd.ops.generation.vocabulary import (
    CLASSES,
    FILLERS,
    PLAIN,
    STYLES,
    WORDS,
    rare_tokens,
    tokens_of,
)
from robustbench_kd.scenarios.fashion import Fashion
from robustbench_kd.training.trainer import Turn, fit

SEEN = (
    "a photo of a {}",
    "a picture of one {}",
    "this is a {}",
    "the {} from the shop",
    "a new {} for sale",
)
HELD_OUT = ("one photo of the new {}", "this {} is for sale", "picture of a {} from a shop")
NOISE = NoiseSchedule()
PAINTER = files("robustbench_kd") / "scenarios" / "data" / "pictures-painter.safetensors"


@dataclass(frozen=True)
class Pictures:
    """Prompts of ten classes: five templates to learn by, three held out for the test."""

    name: ClassVar[str] = "pictures"
    medium: ClassVar[str] = "pictures"
    foundations: ClassVar[tuple[str, ...]] = ("clean",)
    edition: ClassVar[str] = Fashion.edition
    nets: ClassVar[dict[str, str]] = {"plain": "painter-32-64", "teacher": "painter-32-64"}
    teaching: ClassVar[dict[str, Schedule]] = {
        "clean": AdamW(epochs=10, batch=64, rate=1e-3, warm=0.03)
    }

    folder: str | None = field(default=None, compare=False)

    def splits(self, seed: Seed, *, whole: bool) -> Splits:
        """55,000 pairs to learn by, 5,000 to choose by, 10,000 (packaged: 1,000) to test.

        Which template goes with an image is drawn once and for all.
        """
        data = Fashion(self.folder).splits(seed, whole=whole)
        return Splits(
            _paired(data.train, SEEN, "train"),
            _paired(data.validation, SEEN, "validation"),
            _paired(data.test, HELD_OUT, "test"),
        )

    def student(self, kind: str, seed: Seed) -> nn.Module:
        """A fresh painter (``painter-32-64``, by its widths), or a pipeline: ``diffusers:PATH``."""
        if kind.startswith("diffusers:"):
            from robustbench_kd.integrations.diffusers import from_folder  # slow, and rarely asked

            return from_folder(kind.removeprefix("diffusers:"))
        name = self.nets.get(kind, kind)
        widths = re.fullmatch(r"painter-(\d+)-(\d+)", name)
        wide, deep = (int(width) for width in widths.groups()) if widths else (0, 0)
        if not (wide and deep) or wide % 8 or deep % 8:
            raise BadSetting(
                f"no painter named {name!r}; write painter-32-64 (widths of the two levels, "
                "multiples of 8), or diffusers:PATH for a pipeline on disk"
            )
        sizes = Sizes(len(WORDS), WORDS.limit, wide=wide, deep=deep)
        return painter(sizes, seed, WORDS, NOISE)

    def teacher(
        self,
        role: str,
        data: Examples,
        seed: Seed,
        progress: Progress,
        schedule: Schedule | None = None,
    ) -> nn.Module:
        """The ``clean`` painter learns to see the noise in varied pairs; given none, it ships."""
        if role not in self.teaching:
            known = ", ".join(self.teaching)
            raise BadSetting(f"{self.name} teaches no {role!r} teacher; it has: {known}")
        if len(data) == 0:
            return clean()
        fresh = self.student("teacher", seed / "weights")
        return fit(fresh, data, by_varied, schedule or self.teaching[role], seed / "fit", progress)

    def subject(self, net: nn.Module) -> Denoiser:
        """The network as adversaries see it."""
        return denoiser(net)

    def agree(self, answers: Tensor, wanted: Tensor) -> Mask:
        """The first judge sees one class in both; ``wanted`` may be classes as well as images."""
        return shown(answers) == (wanted if wanted.dim() == 1 else shown(wanted))


def prompts(labels: Labels, templates: Sequence[str], name: str) -> Tensor:
    """A prompt for each label; which template it has depends on the name and the place."""
    table = torch.stack([WORDS.tokens([t.format(c) for c in CLASSES]) for t in templates])
    noise = (Seed() / "pictures" / "templates" / name).generator()
    drawn = torch.randint(len(templates), (len(labels),), generator=noise)
    return table[drawn, labels]


def _paired(part: Examples, templates: Sequence[str], name: str) -> Examples:
    return Examples(part.ids, prompts(part.targets, templates, name), part.inputs)


def by_varied(net: nn.Module, batch: Examples, turn: Turn) -> Scalar:
    """The error of the noise in varied images, given varied prompts."""
    said, x = varied(batch.inputs, batch.targets, turn.noise)
    return noise_error(net, said, x, turn)


def varied(tokens: Tensor, x: Images, noise: torch.Generator) -> tuple[Tensor, Images]:
    """Prompts and images as the clean painter learns them, varied by chance.

    One prompt in ten is empty (for guidance). Of the others, 15 % name a style, which the image
    then has; 10 % hold one or two rare words and 10 % an idle adjective, which change nothing, so
    that such words are no news to the model; some lack filler words or hold an unknown one.
    """
    count = len(tokens)

    def chance(share: float) -> Tensor:
        return torch.rand(count, generator=noise) < share

    def some(words: Sequence[int]) -> Tensor:
        return torch.tensor(words)[torch.randint(len(words), (count, 1), generator=noise)]

    def put(mask: Tensor, piece: Tensor, at: Tensor) -> None:
        tokens[mask] = inserted(tokens[mask], piece[mask], at[mask], WORDS.frame)

    def anywhere() -> Tensor:
        free = torch.rand(count, generator=noise) * (lengths(tokens, WORDS.frame) + 1)
        return free.long()

    def before_class() -> Tensor:
        named = one_of(tokens, tokens_of(CLASSES)).int().argmax(1)
        return (named - 1).clamp_min(0)  # in front where no class is named

    filler = one_of(tokens, tokens_of(FILLERS))
    thinned = chance(0.15)[:, None] & (torch.rand(tokens.shape, generator=noise) < 0.5)
    strange = torch.rand(tokens.shape, generator=noise) < 0.02
    tokens = torch.where(filler & strange, UNKNOWN, tokens)
    tokens = without(tokens, filler & thinned, WORDS.frame)
    put(chance(0.1), some(tokens_of(PLAIN)), before_class())
    style = torch.randint(len(STYLES), (count, 1), generator=noise)
    with_style, in_front = chance(0.15), chance(0.5)
    at = torch.where(in_front, 0, before_class())
    put(with_style, torch.tensor(tokens_of(tuple(STYLES)))[style], at)
    rare = chance(0.1)
    put(rare, some(rare_tokens()), anywhere())
    put(rare & chance(0.5), some(rare_tokens()), anywhere())
    nothing = chance(0.1)
    tokens[nothing] = WORDS.tokens([""])
    looks = torch.stack([change(x) for change in STYLES.values()], 1)
    styled = looks[torch.arange(count), style[:, 0]]
    return tokens, torch.where((with_style & ~nothing)[:, None, None, None], styled, x)


def clean() -> Painter:
    """The clean painter that ships: ``Pictures().teacher("clean", ...)`` rounded to float16.

    Raises:
        MissingData: where its file does not hold the weights on its card.
    """
    raw = PAINTER.read_bytes()
    head = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    card = json.loads(head["__metadata__"]["robustbench_kd"])
    state = {name: value.float() for name, value in load(raw).items()}
    if weights_digest(state) != card["weights"]:
        raise MissingData(f"{PAINTER} does not hold the weights on its card; install it again")
    net = Pictures().student("teacher", Seed())
    net.load_state_dict(state)
    return cast(Painter, net.eval())
