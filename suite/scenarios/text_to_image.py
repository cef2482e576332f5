"""Text-to-image generation of Fashion-MNIST images, by a small model with cross-attention.

Prompts are inputs and images are targets. The class that a prompt names is read from its words;
what an image shows is decided by oracle classifiers, which were trained on real images only.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import ClassVar

import torch
from safetensors.torch import load
from torch import Tensor, nn

from robustbench_kd.core.config import AdamW, Schedule
from robustbench_kd.core.errors import BadSetting, MissingData
from robustbench_kd.core.protocols import Progress
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.tensor_types import Labels, Mask
from robustbench_kd.core.types import Examples, Splits
from robustbench_kd.models.image_oracles import oracle_labels
from robustbench_kd.models.statistics import weights_digest
from robustbench_kd.models.text_to_image import TextToImageModel, text_to_image_model
from robustbench_kd.models.text_to_image_unet import DiffusionSizes, latent_diffusion_network
from robustbench_kd.ops.generation.diffusion import NoiseSchedule
from robustbench_kd.ops.generation.vocabulary import CLASSES, TOKENIZER
from robustbench_kd.scenarios._prompt_augmentation import augmented_loss
from robustbench_kd.scenarios.fashion_mnist import FashionMNIST
from robustbench_kd.training.trainer import fit

TRAIN_TEMPLATES = (
    "a photo of a {}",
    "a picture of one {}",
    "this is a {}",
    "the {} from the shop",
    "a new {} for sale",
)
TEST_TEMPLATES = ("one photo of the new {}", "this {} is for sale", "picture of a {} from a shop")
NOISE_SCHEDULE = NoiseSchedule()
NETWORK = "painter"  # what recipes and records call the network; its widths follow
CLEAN_MODEL = files("robustbench_kd") / "scenarios" / "data" / "text-to-image.safetensors"


@dataclass(frozen=True)
class TextToImage:
    """Prompts for ten classes: five templates for training, three others for the test."""

    name: ClassVar[str] = "text-to-image"
    modality: ClassVar[str] = "text-to-image"
    pretrained_roles: ClassVar[tuple[str, ...]] = ("clean",)
    dataset_digest: ClassVar[str] = FashionMNIST.dataset_digest
    architectures: ClassVar[dict[str, str]] = {
        "plain": f"{NETWORK}-32-64",
        "teacher": f"{NETWORK}-32-64",
    }
    teacher_schedules: ClassVar[dict[str, Schedule]] = {
        "clean": AdamW(epochs=10, batch=64, learning_rate=1e-3, warmup=0.03)
    }

    folder: str | None = field(default=None, compare=False)

    def splits(self, seed: Seed, *, whole: bool) -> Splits:
        """55,000 training, 5,000 validation and 10,000 (packaged: 1,000) test pairs.

        The template of an image is the same for every seed.
        """
        data = FashionMNIST(self.folder).splits(seed, whole=whole)
        return Splits(
            _with_prompts(data.train, TRAIN_TEMPLATES, "train"),
            _with_prompts(data.validation, TRAIN_TEMPLATES, "validation"),
            _with_prompts(data.test, TEST_TEMPLATES, "test"),
        )

    def student(self, kind: str, seed: Seed) -> nn.Module:
        """A fresh network (``NETWORK-32-64``, by its widths), or a pipeline: ``diffusers:PATH``.

        Raises:
            BadSetting: for a name that no architecture has.
        """
        if kind.startswith("diffusers:"):
            from robustbench_kd.integrations.diffusers import from_folder  # slow, rarely needed

            return from_folder(kind.removeprefix("diffusers:"))
        name = self.architectures.get(kind, kind)
        match = re.fullmatch(NETWORK + r"-(\d+)-(\d+)", name)
        width, deep_width = map(int, match.groups()) if match else (0, 0)
        if not (width and deep_width) or width % 8 or deep_width % 8:
            raise BadSetting(
                f"no text-to-image network named {name!r}; write {NETWORK}-32-64 (widths of the "
                "two levels, multiples of 8), or diffusers:PATH for a pipeline on disk"
            )
        sizes = DiffusionSizes(len(TOKENIZER), TOKENIZER.limit, width=width, deep_width=deep_width)
        return latent_diffusion_network(sizes, seed, TOKENIZER, NOISE_SCHEDULE)

    def teacher(
        self,
        role: str,
        data: Examples,
        seed: Seed,
        progress: Progress,
        schedule: Schedule | None = None,
    ) -> nn.Module:
        """Trains the ``clean`` model on augmented pairs; without any, the packaged one.

        Raises:
            BadSetting: for another role.
        """
        if role not in self.teacher_schedules:
            known = ", ".join(self.teacher_schedules)
            raise BadSetting(f"{self.name} has no {role!r} teacher; it has: {known}")
        if len(data) == 0:
            return load_clean_model()
        fresh = self.student("teacher", seed / "weights")
        schedule = schedule or self.teacher_schedules[role]
        return fit(fresh, data, augmented_loss, schedule, seed / "fit", progress)

    def target_model(self, net: nn.Module) -> TextToImageModel:
        """The network as adversaries see it."""
        return text_to_image_model(net)

    def agree(self, answers: Tensor, targets: Tensor) -> Mask:
        """Whether the first oracle sees one class in both; targets are images or classes."""
        labels = targets if targets.dim() == 1 else oracle_labels(targets)
        return oracle_labels(answers) == labels


def make_prompts(labels: Labels, templates: Sequence[str], name: str) -> Tensor:
    """A prompt for each label; the template is random, by the name and the position."""
    table = torch.stack([TOKENIZER.tokens([t.format(c) for c in CLASSES]) for t in templates])
    noise = (Seed() / "pictures" / "templates" / name).generator()
    choice = torch.randint(len(templates), (len(labels),), generator=noise)
    return table[choice, labels]


def load_clean_model() -> nn.Module:
    """The packaged clean model: the ``clean`` teacher of seed 0, rounded to float16.

    Raises:
        MissingData: where its file does not hold the weights that its metadata names.
    """
    raw = CLEAN_MODEL.read_bytes()
    header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    metadata = json.loads(header["__metadata__"]["robustbench_kd"])
    state = {name: value.float() for name, value in load(raw).items()}
    if weights_digest(state) != metadata["weights"]:
        raise MissingData(
            f"{CLEAN_MODEL} does not hold the weights that its metadata names; install it again"
        )
    net = TextToImage().student("teacher", Seed())
    net.load_state_dict(state)
    return net.eval()


def _with_prompts(part: Examples, templates: Sequence[str], name: str) -> Examples:
    """Images as targets of prompts, by their labels."""
    return Examples(part.ids, make_prompts(part.targets, templates, name), part.inputs)
