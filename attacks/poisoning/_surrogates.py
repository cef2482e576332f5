"""Networks that a poisoner trains for itself, since the victim's do not exist yet."""

from __future__ import annotations

from abc import ABC
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from robustbench_kd.attacks.poisoning._base import Targeted
from robustbench_kd.core.config import Schedule
from robustbench_kd.core.errors import BadSetting
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.tensor_types import Images, Scalar
from robustbench_kd.core.types import Examples, Splits
from robustbench_kd.ops.poisoning.gradient_matching import signed_descent
from robustbench_kd.training.objectives import by_labels
from robustbench_kd.training.surrogates import surrogate
from robustbench_kd.training.trainer import fit


@dataclass(frozen=True)
class Schooled(Targeted, ABC):
    """A targeted poisoning that is crafted against networks of the poisoner's own.

    Args:
        candidates: test images that the poisoner chooses the victim from, and for each the wanted
            class: the pair that the surrogates still answer right, but only just. With 1 both are
            drawn, as in the literature.
        surrogate: the network, by a name of ``nets.build``.
        epochs: how long it is trained, on the clean data.
        members: how many of them; the loss is their mean, and the poison fits none too closely.
        steps: of descent on the loss; each begins at ``stride`` times ``eps``.
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
            raise BadSetting(f"a victim is chosen from at least one, not from {self.candidates}")
        if self.epochs < 1 or self.members < 1 or self.steps < 1:
            raise BadSetting(f"{self.name} needs at least one epoch, one member and one step")
        if not 0 < self.stride <= 1:
            raise BadSetting(f"stride is a share of eps in (0, 1], not {self.stride:g}")

    def aim(self, data: Splits, seed: Seed) -> Examples:
        """A victim and its wanted class: drawn, or the easiest of the candidates."""
        drawn = super().aim(data, seed)
        if self.candidates == 1:
            return drawn
        test = data.test
        order = torch.randperm(len(test), generator=(seed / "candidates").generator())
        some = test.take(order[: self.candidates])
        nets = self.taught(data.train, seed / "surrogate")
        with torch.no_grad():
            scores = torch.stack([net(some.inputs) for net in nets]).mean(0)
        lead = scores.gather(1, some.targets[:, None]) - scores
        lead = torch.where(lead > 0, lead, torch.inf)  # neither its own class, nor lost already
        if self.target is not None:
            lead[:, torch.arange(lead.shape[1]) != self.target] = torch.inf
        place = int(lead.argmin())
        if not torch.isfinite(lead.flatten()[place]):
            return drawn
        victim, wanted = divmod(place, lead.shape[1])
        one = some.take(torch.tensor([victim]))
        return Examples(one.ids, one.inputs, torch.full_like(one.targets, wanted))

    def descended(self, loss: Callable[[Images], Scalar], bases: Examples) -> Images:
        """The bases, moved down the loss."""
        return signed_descent(
            loss,
            bases.inputs,
            self.budget,
            steps=self.steps,
            stride=self.stride,
            start=bases.inputs,
        )

    def taught(self, train: Examples, seed: Seed) -> list[nn.Module]:
        """The surrogates, trained by their labels and in eval mode."""
        seeds = [seed / n for n in range(self.members)]
        fresh = [surrogate(self.surrogate, train, one / "weights") for one in seeds]
        schedule = Schedule(self.epochs, batch=64)
        return [
            fit(net, train, by_labels, schedule, one / "fit")
            for net, one in zip(fresh, seeds, strict=True)
        ]
