"""Targeted poisoning crafted against surrogates, since the target model does not exist yet."""

from __future__ import annotations

from abc import ABC
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from robustbench_kd.attacks.poisoning._base import TargetedPoisoning
from robustbench_kd.core.config import Schedule
from robustbench_kd.core.errors import BadSetting
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.tensor_types import Images, Scalar
from robustbench_kd.core.types import Examples, Splits
from robustbench_kd.ops.poisoning.gradient_matching import signed_adam
from robustbench_kd.training.objectives import label_loss
from robustbench_kd.training.surrogates import surrogate
from robustbench_kd.training.trainer import fit


@dataclass(frozen=True)
class SurrogatePoisoning(TargetedPoisoning, ABC):
    """A targeted poisoning whose adversary trains networks of its own on the clean data.

    Args:
        candidates: test images among which the adversary chooses its target and target class: the
            pair that the surrogates still classify right, but by the smallest margin. With 1 both
            are drawn, as in the literature.
        surrogate: the network, a name of ``models.factory.build``.
        epochs: how long it is trained.
        members: how many of them; the loss is their mean, so the poison overfits none of them.
        steps: of descent on the loss; the first ones are ``stride`` times ``eps`` long.
    """

    candidates: int = 1
    surrogate: str = "resnet-8-16"
    epochs: int = 8
    members: int = 1
    steps: int = 60
    stride: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.candidates < 1:
            raise BadSetting(f"a target is chosen among at least one, not {self.candidates}")
        if self.epochs < 1 or self.members < 1 or self.steps < 1:
            raise BadSetting(f"{self.name} needs at least one epoch, one member and one step")
        if not 0 < self.stride <= 1:
            raise BadSetting(f"stride is a share of eps in (0, 1], not {self.stride:g}")

    def validate_data(self, train: Examples) -> None:
        super().validate_data(train)
        surrogate(self.surrogate, train, Seed())

    def target_example(self, data: Splits, seed: Seed) -> Examples:
        """A test image and its target class: drawn, or the easiest of the candidates."""
        drawn = super().target_example(data, seed)
        if self.candidates == 1:
            return drawn
        test = data.test
        order = torch.randperm(len(test), generator=(seed / "candidates").generator())
        candidates = test.take(order[: self.candidates])
        nets = self.train_surrogates(data.train, seed / "surrogate")
        with torch.no_grad():
            scores = torch.stack([net(candidates.inputs) for net in nets]).mean(0)
        margins = scores.gather(1, candidates.targets[:, None]) - scores
        # Neither the own class, whose margin is 0, nor one that is already ahead.
        margins = torch.where(margins > 0, margins, torch.inf)
        if self.target is not None:
            margins[:, torch.arange(margins.shape[1]) != self.target] = torch.inf
        place = int(margins.argmin())
        if not torch.isfinite(margins.flatten()[place]):
            return drawn
        row, label = divmod(place, margins.shape[1])
        chosen = candidates.take(torch.tensor([row]))
        return Examples(chosen.ids, chosen.inputs, torch.full_like(chosen.targets, label))

    def minimise(self, loss: Callable[[Images], Scalar], bases: Examples) -> Images:
        """The images of least loss that descent finds from the bases, within the ball."""
        return signed_adam(
            loss,
            bases.inputs,
            self.budget,
            steps=self.steps,
            stride=self.stride,
            start=bases.inputs,
        )

    def train_surrogates(self, train: Examples, seed: Seed) -> list[nn.Module]:
        """The surrogates, trained on the labels and in eval mode."""
        seeds = [seed / n for n in range(self.members)]
        fresh = [surrogate(self.surrogate, train, member / "weights") for member in seeds]
        schedule = Schedule(self.epochs, batch=64)
        return [
            fit(net, train, label_loss, schedule, member / "fit")
            for net, member in zip(fresh, seeds, strict=True)
        ]
