"""What a paired comparison amounts to: one word, and the numbers it rests on. Needs no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from robustbench_kd.core.errors import BadSetting
from robustbench_kd.ops.statistics.paired_tests import ONE_SIDED, Test
from robustbench_kd.regression.endpoints import Endpoint

Verdict = Literal[
    "ok",
    "changed",
    "improved",
    "regressed",
    "regressed-severe",
    "inconclusive",
    "not-comparable",
    "attack-weakened",
]
MEANS: dict[Verdict, str] = {
    "ok": "shown to be no worse than the margin",
    "changed": "a loss that is more than chance, and smaller than the margin",
    "improved": "a gain that is more than chance",
    "regressed": "a loss that is more than chance, and may exceed the margin",
    "regressed-severe": "a loss that exceeds the margin",
    "inconclusive": "too few samples to tell whether the loss exceeds the margin",
    "not-comparable": "nothing can be paired",
    "attack-weakened": "the attack misses what is known to break the network",
}
LOST: frozenset[Verdict] = frozenset({"regressed", "regressed-severe"})


@dataclass(frozen=True)
class Rules:
    """Level, margins and test of a gate.

    Attributes:
        alpha: level of each one-sided test.
        margin: the tolerated loss of every primary endpoint, in the unit it is printed in (points
            of a share, bits); None for that of its metric.
        margins: tolerated losses by metric, which go before ``margin``.
        test: of bits.
        strict: only a loss that certainly exceeds the margin is a regression.
    """

    alpha: float = 0.05
    margin: float | None = None
    margins: Mapping[str, float] = field(default_factory=dict)
    test: Test = "midp"
    strict: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 0.5:
            raise BadSetting(f"alpha must lie between 0 and one half, not {self.alpha:g}")
        for margin in (self.margin, *self.margins.values()):
            if margin is not None and not 0 <= margin < float("inf"):
                raise BadSetting(f"a margin is a number of at least 0, not {margin:g}")
        if self.test not in ONE_SIDED:
            raise BadSetting(f"the test must be one of {', '.join(ONE_SIDED)}, not {self.test!r}")

    def margin_of(self, endpoint: Endpoint) -> float:
        """The tolerated loss of an endpoint, on the scale of its values (shares, not points).

        Raises:
            BadSetting: where no share can lose as much.
        """
        default = endpoint.margin
        if self.margin is not None and endpoint.role != "utility":
            default = self.margin
        margin = self.margins.get(endpoint.metric.partition(":")[0], default)
        if endpoint.unit == "percent" and margin >= 100:
            raise BadSetting(
                f"a margin of {endpoint.metric} is a number of points of at least 0 and below 100, "
                f"not {margin:g}"
            )
        return margin / endpoint.scale


@dataclass(frozen=True)
class Comparison:
    """How much worse or better one side is, whether chance explains it, and whether it matters.

    Shares are between 0 and 1, numbers in their own unit. A positive drop is a loss, whether the
    metric is better high or low.

    Attributes:
        lost: samples that are worse (bits: right before, wrong now).
        won: samples that are better.
        drop: the mean loss, with its 95 % interval ``low`` to ``high``: Tango's for bits, the
            weighted means' for numbers.
        least: the drop is at least this, with confidence 1 - alpha.
        most: the drop is at most this, with confidence 1 - alpha.
        p: one-sided p-value of the loss, adjusted where several endpoints were tested.
        gain: the same of a gain.
        detectable: the smallest drop that so many samples show in four cases of five. For bits
            as many change each way for other reasons as the fewer of lost and won. None where no
            drop is shown, or where it was not computed.
        enough: about how many samples would show a drop of the margin, where these do not.
    """

    lost: int
    won: int
    count: int
    drop: float
    low: float
    high: float
    least: float
    most: float
    p: float
    gain: float
    detectable: float | None
    enough: int | None
    margin: float
    verdict: Verdict


@dataclass(frozen=True)
class CrossReplay:
    """Both sides after each network was queried with the inputs that broke the other.

    Attributes:
        old: whether each example survives everything that is known to break the old network.
        new: the same for the new network.
        missed: for old and new, how many examples a side's own panel left standing and the other
            side's stored input breaks.
        dissolved: how many of the pairs that were lost and won did not survive fresh seeds.
        seeds: how many fresh seeds were used.
    """

    old: tuple[bool, ...]
    new: tuple[bool, ...]
    missed: tuple[int, int]
    dissolved: tuple[int, int]
    seeds: int
