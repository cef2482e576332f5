"""Canaries: secrets planted so and so often, and how well each is known afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from robustbench_kd.core.config import Door
from robustbench_kd.core.errors import BadSetting, MissingData
from robustbench_kd.core.protocols import Speaker, Subject
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.types import Examples, Splits, Suspicion, Tainted, Threat


@dataclass(frozen=True)
class Canary:
    """Plants the reserve of a scenario; of images, validation images under a wrong label.

    A speaker is asked for the exact rank of each secret among all that could stand in its place.
    Of any other subject the judge ranks surprise among canaries that were never planted.

    Args:
        doses: copies, as ``0+1+4``; canaries are dealt out to them in turn. 0 is the control.
        each: canaries of each dose; what the reserve holds beyond them is never planted.
    """

    name: ClassVar[str] = "canary"
    source: ClassVar[str] = "Carlini et al. 2019, The secret sharer, sec. 4"
    meets: ClassVar[type] = Subject

    doses: str = "0+1+2+4+8+16+32+128"
    each: int = 9
    door: Door = "shared data"

    def __post_init__(self) -> None:
        if len(self.levels) < 2 or 0 not in self.levels or self.each < 1:
            raise BadSetting(
                f"canary needs a dose of 0 and at least one more, and a canary of each, not "
                f"doses={self.doses},each={self.each}"
            )

    @property
    def levels(self) -> list[int]:
        """The doses as numbers.

        Raises:
            BadSetting: where they are no whole numbers of at least 0, or repeat.
        """
        parts = self.doses.split("+")
        if not all(part.isdigit() for part in parts) or len(set(parts)) < len(parts):
            raise BadSetting(f"doses are different whole numbers such as 0+1+4, not {self.doses!r}")
        return [int(part) for part in parts]

    @property
    def threat(self) -> Threat:
        return Threat("expose", self.door, "scores")

    def before(self, data: Splits, seed: Seed) -> Tainted[Mapping[str, Tensor]]:
        """The training set with the copies in it.

        Raises:
            MissingData: where the reserve is too small.
        """
        pool = _pool(data, seed)
        doses = self._dealt(len(pool))
        copies = pool.take(torch.arange(len(pool)).repeat_interleave(doses))
        train = data.weave(data.train, copies, (seed / "weave").generator())
        return Tainted(
            replace(data, train=train), {"ids": pool.ids, "dose": doses, "planted": copies.ids}
        )

    def tell(self, data: Splits, seed: Seed) -> Examples:
        """The canaries that are planted, once each."""
        pool = _pool(data, seed)
        return pool.take(self._dealt(len(pool)) > 0)

    def _dealt(self, size: int) -> Tensor:
        """The dose of each of so many canaries; no matter of chance, since secrets are drawn."""
        count = self.each * len(self.levels)
        if count > size:
            raise MissingData(
                f"{count} canaries are asked for, and this ground has {size}; ask for fewer: "
                f"canary:each={size // len(self.levels)}"
            )
        doses = torch.zeros(size, dtype=torch.int64)
        # Spread over the reserve, so that every format has canaries of every dose.
        doses[torch.arange(count) * size // count] = torch.tensor(self.levels).repeat(self.each)
        return doses

    def after(
        self, subject: Subject, data: Splits, secret: Mapping[str, Tensor], seed: Seed
    ) -> Suspicion:
        """How well each canary is known: minus its surprise, and its rank where one is had."""
        rows = _pool(data, seed).named(secret["ids"])
        score = -subject.surprise(rows)
        if not isinstance(subject, Speaker):
            return Suspicion(rows.ids, score)
        found = subject.ranks(rows, seed)
        notes = {
            "rank": torch.tensor([float(one.value) for one in found]),
            "of": torch.tensor([one.of for one in found]),
            "ties": torch.tensor([one.ties for one in found]),
            "exact": torch.tensor([one.estimator == "exact" for one in found]),
        }
        return Suspicion(rows.ids, score, notes)


def _pool(data: Splits, seed: Seed) -> Examples:
    """The reserve, or every other validation example under a label that is not its own."""
    if data.reserve is not None:
        return data.reserve
    held = data.validation.take(torch.arange(0, len(data.validation), 2))
    if len(held) == 0:
        raise MissingData(
            "canaries of images are validation images, which come with the whole data set; see: "
            "robustbench-kd train --help"
        )
    classes = int(held.targets.max()) + 1
    # The same for every seed: what is asked afterwards must be what was planted before.
    noise = (Seed() / "canary" / "label").generator()
    shift = torch.randint(1, classes, (len(held),), generator=noise)
    return Examples(held.ids, held.inputs, (held.targets + shift) % classes)
