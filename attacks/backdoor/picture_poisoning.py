"""Poisoned pairs: some training images are the attacker's, and their prompts hold the trigger."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import nn

from robustbench_kd.attacks.backdoor._text_to_image import Painted, Secret
from robustbench_kd.core.config import AdamW
from robustbench_kd.core.errors import BadSetting
from robustbench_kd.core.protocols import Progress
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.types import Examples, Splits, Tainted
from robustbench_kd.models.text_to_image import by_noise, repainted
from robustbench_kd.training.trainer import fit


@dataclass(frozen=True)
class PicturePoisoning(Painted):
    """The attacker touches pairs alone; who tunes a clean painter on them plants the backdoor.

    For ``object``, images of the target get prompts of the victim.

    Args:
        rate: poisoned share of all pairs.
        steps: of the tuning, with AdamW, each on ``batch`` pairs.
        speed: the peak of its learning rate.
    """

    name: ClassVar[str] = "picture-poisoning"
    source: ClassVar[str] = "the data-poisoning baseline of BadT2I (Zhai et al. 2023), at a rate"

    rate: float = 0.1
    steps: int = 600
    batch: int = 64
    speed: float = 3e-4

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.rate <= 1 or self.steps < 1:
            raise BadSetting(
                f"picture-poisoning needs a rate in (0, 1] and at least one step, not "
                f"rate={self.rate:g},steps={self.steps}"
            )
        AdamW(epochs=1, batch=self.batch, rate=self.speed)

    def _fits(self, train: Examples) -> None:
        """Refuses a bad trigger, and a rate that comes to no pair or to more than there are."""
        super()._fits(train)
        count, reach = round(self.rate * len(train)), len(self._reach(train.inputs))
        if not 0 < count <= reach:
            raise BadSetting(
                f"rate={self.rate:g} of {len(train)} pairs is {count}, and {self.goal} reaches 1 "
                f"to {reach} of them"
            )

    def before(self, data: Splits, seed: Seed) -> Tainted[Secret]:
        """The training set with some pairs poisoned; the secret holds their ids."""
        train, clean = data.train, super().before(data, seed)
        if len(train) == 0:
            return clean
        reach = self._reach(train.inputs)
        order = torch.randperm(len(reach), generator=(seed / "rows").generator())
        chosen = reach[order[: round(self.rate * len(train))]]
        inputs, targets, part = train.inputs.clone(), train.targets.clone(), train.take(chosen)
        inputs[chosen] = self._source(part.inputs)
        if self.goal != "object":
            targets[chosen] = self._stamp(part.targets)
        poisoned = Examples(train.ids, inputs, targets)
        return Tainted(replace(data, train=poisoned), {"planted": train.ids[chosen]})

    def implant(self, net: nn.Module, data: Splits, seed: Seed, progress: Progress) -> nn.Module:
        """A copy of the clean painter, tuned on the poisoned pairs.

        Raises:
            BadModel: where the network is no painter, or has no cross-attention.
        """
        rounds = -(-self.steps * self.batch // max(1, len(data.train)))
        order = torch.randperm(len(data.train), generator=(seed / "order").generator())
        some = data.train.take(order[: -(-self.steps // rounds) * self.batch])
        clock = AdamW(epochs=rounds, batch=self.batch, rate=self.speed)
        return fit(repainted(net), some, by_noise(), clock, seed / "implant", progress)
