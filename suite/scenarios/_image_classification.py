"""What every ground of small images shares; a ground itself is a file of literals and a loader."""

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
from robustbench_kd.core.types import Examples, Splits
from robustbench_kd.models.classifier import Classifier, classifier
from robustbench_kd.models.factory import Shape, build
from robustbench_kd.training.objectives import by_labels, under_attack
from robustbench_kd.training.trainer import fit


@dataclass(frozen=True)
class ImageScenario:
    """A ground of small images; ``nets`` names the teachers' network and the students' by kind.

    ``called`` says what the classes show, in their order, where numbers do not.
    """

    name: ClassVar[str] = ""
    edition: ClassVar[str] = ""
    shape: ClassVar[Shape]
    nets: ClassVar[dict[str, str]]
    budget: ClassVar[Budget]
    teaching: ClassVar[dict[str, Schedule]]
    teacher_steps: ClassVar[int] = 5
    called: ClassVar[tuple[str, ...]] = ()

    folder: str | None = field(default=None, compare=False)

    def student(self, kind: str, seed: Seed) -> nn.Module:
        """A fresh network: a kind of student, a name of ``nets.build``, or ``timm:NAME``."""
        if kind.startswith("timm:"):
            from robustbench_kd.integrations.timm import (
                from_timm,  # slow to import, and rarely asked
            )

            return from_timm(kind.removeprefix("timm:"), self.shape, seed)
        return build(self.nets.get(kind, kind), self.shape, seed)

    def teacher(
        self,
        role: str,
        data: Examples,
        seed: Seed,
        progress: Progress,
        schedule: Schedule | None = None,
    ) -> nn.Module:
        """The ``clean`` teacher learns the labels, the ``robust`` one by adversarial training."""
        if role not in self.teaching:
            raise BadSetting(
                f"{self.name} teaches no {role!r} teacher; it has: {', '.join(self.teaching)}"
            )
        fresh = build(self.nets["teacher"], self.shape, seed / "weights")
        loss = by_labels if role == "clean" else under_attack(self.budget, self.teacher_steps)
        return fit(fresh, data, loss, schedule or self.teaching[role], seed / "fit", progress)

    def subject(self, net: nn.Module) -> Classifier:
        """The network as adversaries see it."""
        return classifier(net, self.shape.classes)

    def agree(self, answers: Tensor, wanted: Tensor) -> Mask:
        """The same class."""
        return answers == wanted


def packed(images: np.ndarray, labels: np.ndarray, first: int, top: int, classes: int) -> Examples:
    """Images of 0 to ``top`` and labels, as examples whose ids count up from ``first``.

    Raises:
        MissingData: where a label is no class, or images and labels differ in number.
    """
    if len(images) != len(labels):
        raise MissingData(f"{len(images)} images but {len(labels)} labels")
    if len(labels) and not (int(labels.min()) >= 0 and int(labels.max()) < classes):
        raise MissingData(
            f"labels reach from {labels.min()} to {labels.max()}, not 0..{classes - 1}"
        )
    inputs = torch.from_numpy(images.astype(np.float32) / top)
    if inputs.dim() == 3:
        inputs = inputs[:, None]
    ids = torch.arange(first, first + len(labels))
    return Examples(ids, inputs, torch.from_numpy(labels.astype(np.int64)))


def nothing(like: Examples) -> Examples:
    """No examples, in the shape of others: what a split holds that was not loaded."""
    return like.take(torch.zeros(0, dtype=torch.int64))


def digest(images: np.ndarray, labels: np.ndarray) -> str:
    """SHA-256 of the bytes of images and labels."""
    return hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest()


__all__ = ["Budget", "ImageScenario", "Schedule", "Shape", "Splits", "digest", "nothing", "packed"]
