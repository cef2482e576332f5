"""What all scenarios of small images share; a scenario is a file of literals and a loader."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from robustbench_kd.core.config import Budget, Schedule
from robustbench_kd.core.errors import BadSetting, MissingData
from robustbench_kd.core.protocols import Progress
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.tensor_types import Mask
from robustbench_kd.core.types import Examples
from robustbench_kd.models.classifier import Classifier, classifier
from robustbench_kd.models.factory import Shape, build
from robustbench_kd.training.objectives import adversarial_loss, label_loss
from robustbench_kd.training.trainer import fit


@dataclass(frozen=True)
class ImageScenario:
    """Classification of small images.

    Attributes:
        architectures: the network of the teachers, and of each kind of student.
        budget: of the inner attack that trains the robust teacher, in ``teacher_steps`` steps.
        class_names: what the classes show, in their order, where numbers do not say it.
        folder: where the data may lie.
    """

    name: ClassVar[str] = ""
    dataset_digest: ClassVar[str] = ""
    shape: ClassVar[Shape]
    architectures: ClassVar[dict[str, str]]
    budget: ClassVar[Budget]
    teacher_schedules: ClassVar[dict[str, Schedule]]
    teacher_steps: ClassVar[int] = 5
    class_names: ClassVar[tuple[str, ...]] = ()

    folder: str | None = field(default=None, compare=False)

    def student(self, kind: str, seed: Seed) -> nn.Module:
        """A fresh network: a kind of student, an architecture, or ``timm:NAME``.

        Raises:
            BadSetting: for a name that no architecture has.
        """
        if kind.startswith("timm:"):
            from robustbench_kd.integrations.timm import from_timm  # slow to import, rarely needed

            return from_timm(kind.removeprefix("timm:"), self.shape, seed)
        return build(self.architectures.get(kind, kind), self.shape, seed)

    def teacher(
        self,
        role: str,
        data: Examples,
        seed: Seed,
        progress: Progress,
        schedule: Schedule | None = None,
    ) -> nn.Module:
        """Trains the ``clean`` teacher on the labels, the ``robust`` one by adversarial training.

        Raises:
            BadSetting: for another role.
        """
        if role not in self.teacher_schedules:
            known = ", ".join(self.teacher_schedules)
            raise BadSetting(f"{self.name} has no {role!r} teacher; it has: {known}")
        fresh = build(self.architectures["teacher"], self.shape, seed / "weights")
        loss = label_loss if role == "clean" else adversarial_loss(self.budget, self.teacher_steps)
        schedule = schedule or self.teacher_schedules[role]
        return fit(fresh, data, loss, schedule, seed / "fit", progress)

    def target_model(self, net: nn.Module) -> Classifier:
        """The network as adversaries see it."""
        return classifier(net, self.shape.classes)

    def agree(self, answers: Tensor, targets: Tensor) -> Mask:
        """Whether the classes are the same."""
        return answers == targets


def make_examples(
    images: np.ndarray, labels: np.ndarray, first: int, top: int, classes: int
) -> Examples:
    """Images of 0 to ``top`` and labels, as examples whose ids count up from ``first``.

    Raises:
        MissingData: where a label is no class, or images and labels differ in number.
    """
    if len(images) != len(labels):
        raise MissingData(f"{len(images)} images but {len(labels)} labels")
    if len(labels) and not (int(labels.min()) >= 0 and int(labels.max()) < classes):
        raise MissingData(
            f"labels range from {labels.min()} to {labels.max()}, not from 0 to {classes - 1}"
        )
    inputs = torch.from_numpy(images.astype(np.float32) / top)
    if inputs.dim() == 3:
        inputs = inputs[:, None]
    ids = torch.arange(first, first + len(labels))
    return Examples(ids, inputs, torch.from_numpy(labels.astype(np.int64)))


def no_examples(like: Examples) -> Examples:
    """An empty set in the shape of another: a split that was not loaded."""
    return like.take(torch.zeros(0, dtype=torch.int64))


def data_digest(images: np.ndarray, labels: np.ndarray) -> str:
    """SHA-256 of the bytes of images and labels."""
    return hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest()
