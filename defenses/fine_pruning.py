"""Fine-pruning: prunes the channels that clean images leave inactive, then fine-tunes the rest."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from robustbench_kd.core.errors import MissingData
from robustbench_kd.core.protocols import TrainingContext
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.types import Examples
from robustbench_kd.defenses._base import FineTuningRepair, check_range, trusted_examples
from robustbench_kd.models.pruning import mean_activations, prune_channels
from robustbench_kd.training.fine_tuning import fine_tune


@dataclass(frozen=True)
class FinePruning(FineTuningRepair):
    """Rests on the assumption that a trigger is carried by channels that clean images do not use.

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
        check_range("tolerance", self.tolerance, 0, 1)
        check_range("hold", self.hold, 0.01, 0.99)

    def train(self, context: TrainingContext) -> nn.Module:
        """The pruned and fine-tuned copy of the given network.

        Raises:
            BadModel: for another network than a small residual one.
            MissingData: where the trusted images are too few to hold some out.
        """
        trusted = trusted_examples(context)
        return fine_tune(
            self.prune(context.teachers["given"], trusted, context.seed / "held out"),
            trusted,
            self.schedule(self.epochs),
            context.seed / "student",
            shift=self.shift,
            progress=context.progress,
        )

    def prune(self, given: nn.Module, trusted: Examples, seed: Seed) -> nn.Module:
        """A copy without as many channels, least active first, as the tolerance allows.

        Raises:
            MissingData: where the trusted images are too few to hold some out.
        """
        if len(trusted) < 2:
            raise MissingData("fine-pruning holds out some trusted images, so it needs at least 2")
        count = min(max(1, round(self.hold * len(trusted))), len(trusted) - 1)
        rows = torch.randperm(len(trusted), generator=seed.generator())
        held_out, calibration = trusted.take(rows[:count]), trusted.take(rows[count:])
        net = copy.deepcopy(given).eval()
        order = mean_activations(net, calibration.inputs).argsort(stable=True)
        allowed, before = self.tolerance * count, correct_count(net, held_out)
        for n in range(1, len(order)):
            fall = before - correct_count(without_channels(net, order[:n]), held_out)
            if fall > allowed + 1e-6:  # the slack is for rounding
                return without_channels(net, order[: n - 1])
        return without_channels(net, order[:-1])


def without_channels(net: nn.Module, channels: Tensor) -> nn.Module:
    """A copy with these channels of the last stage pruned."""
    pruned = copy.deepcopy(net)
    prune_channels(pruned, channels)
    return pruned


def correct_count(net: nn.Module, data: Examples) -> int:
    """How many of the examples a network in eval mode classifies correctly."""
    with torch.inference_mode():
        return int((net(data.inputs).argmax(1) == data.targets).sum())
