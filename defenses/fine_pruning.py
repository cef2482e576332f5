"""Fine-pruning: silence the channels that clean images leave asleep, then fine-tune the rest."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from robustbench_kd.core.errors import MissingData
from robustbench_kd.core.protocols import Brief
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.types import Examples
from robustbench_kd.defenses._base import Tuning, between, trusted
from robustbench_kd.models.pruning import activity, silence
from robustbench_kd.training.fine_tuning import fine_tune


@dataclass(frozen=True)
class FinePruning(Tuning):
    """A trigger is carried by channels that clean images do not use, or so the paper supposes.

    The order of pruning comes from one part of the trusted images and its end from the other; the
    fine-tuning takes both. One channel is always left.

    Args:
        tolerance: how much accuracy on the held-out images may fall before pruning stops.
        hold: the share of the trusted images that is held out.
    """

    name: ClassVar[str] = "fine-pruning"
    source: ClassVar[str] = "Liu, Dolan-Gavitt & Garg 2018, Fine-Pruning (RAID), arXiv 1805.12185"
    formula: ClassVar[str] = "CE(y, S(x)) on trusted x, with the least active last channels at 0"

    tolerance: float = 0.04
    hold: float = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        between("tolerance", self.tolerance, 0, 1)
        between("hold", self.hold, 0.01, 0.99)

    def harden(self, brief: Brief) -> nn.Module:
        """The pruned and tuned copy of the given network.

        Raises:
            BadModel: for another network than a small residual one.
            MissingData: where the trusted images are too few to hold some out.
        """
        clean = trusted(brief)
        return fine_tune(
            self.pruned(brief.teachers["given"], clean, brief.seed / "held out"),
            clean,
            self.schedule(self.epochs),
            brief.seed / "student",
            shift=self.shift,
            progress=brief.progress,
        )

    def pruned(self, given: nn.Module, clean: Examples, seed: Seed) -> nn.Module:
        """A copy with as many channels silenced, least active first, as the tolerance allows."""
        if len(clean) < 2:
            raise MissingData("fine-pruning holds out some trusted images, so it needs at least 2")
        held = min(max(1, round(self.hold * len(clean))), len(clean) - 1)
        rows = torch.randperm(len(clean), generator=seed.generator())
        judge, seen = clean.take(rows[:held]), clean.take(rows[held:])
        net = copy.deepcopy(given).eval()
        order = activity(net, seen.inputs).argsort(stable=True)
        fall, right = self.tolerance * len(judge), hits(net, judge)
        for count in range(1, len(order)):
            if right - hits(without(net, order[:count]), judge) > fall + 1e-6:  # of rounding
                return without(net, order[: count - 1])
        return without(net, order[:-1])


def without(net: nn.Module, channels: Tensor) -> nn.Module:
    """A copy with these channels of the last stage silenced."""
    twin = copy.deepcopy(net)
    silence(twin, channels)
    return twin


def hits(net: nn.Module, data: Examples) -> int:
    """How many of the examples a network in eval mode gets right."""
    with torch.inference_mode():
        return int((net(data.inputs).argmax(1) == data.targets).sum())
