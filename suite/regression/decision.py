"""What a paired comparison amounts to: one word, and the numbers it rests on. Needs no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from robustbench_kd.core.errors import BadSetting
from robustbench_kd.ops.statistics.paired_tests import ONE_SIDED, Test, tango
from robustbench_kd.ops.statistics.power import detectable, enough

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
    "inconclusive": "too few examples to tell whether the loss exceeds the margin",
    "not-comparable": "nothing can be paired",
    "attack-weakened": "the attack misses what is known to break the network",
}
LOST: frozenset[Verdict] = frozenset({"regressed", "regressed-severe"})


@dataclass(frozen=True)
class Rules:
    """How a gate judges: level, margins as shares of the examples, and the test.

    ``margin`` is the drop in robust accuracy that is borne, ``clean`` that in plain accuracy,
    ``planted`` the rise in the success of an attack on training data.
    """

    alpha: float = 0.05
    margin: float = 0.02
    clean: float = 0.01
    planted: float = 0.05
    test: Test = "midp"
    strict: bool = False  # only what certainly exceeds the margin is a regression

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 0.5:
            raise BadSetting(f"alpha must lie between 0 and one half, not {self.alpha:g}")
        for name in ("margin", "clean", "planted"):
            if not 0 <= getattr(self, name) < 1:
                raise BadSetting(
                    f"a margin is a share of at least 0 and below 1 (0.02 is two points), not "
                    f"{getattr(self, name):g}"
                )
        if self.test not in ONE_SIDED:
            raise BadSetting(f"the test must be one of {', '.join(ONE_SIDED)}, not {self.test!r}")


@dataclass(frozen=True)
class Comparison:
    """What was lost and won, whether chance explains it, and whether it matters.

    ``drop`` is (lost - won) / count with Tango's 95 % interval from ``low`` to ``high``; it is at
    least ``least`` and at most ``most``, each with confidence 1 - alpha. ``p`` is the one-sided
    p-value that as much is lost by chance (McNemar), ``gain`` the same of what was won, both
    adjusted where several endpoints were tested. ``detectable`` is the smallest drop that so many
    examples show in four cases of five, where each way as many change for no reason as the fewer of
    lost and won; none where there is no such drop. ``enough`` is about how many examples would show
    a drop of the margin, where these do not.
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


def weigh(
    lost: int,
    won: int,
    count: int,
    margin: float,
    rules: Rules,
    *,
    p: float | None = None,
    gain: float | None = None,
    tests: int | None = 1,
) -> Comparison:
    """The verdict on one endpoint, by its counts.

    Args:
        lost: examples that were right and are wrong.
        won: examples that were wrong and are right.
        count: all examples of the endpoint.
        margin: the drop that is borne, as a share.
        rules: level and test.
        p: the p-value of the loss where it was adjusted for other tests.
        gain: that of the gain.
        tests: how many there were; the smallest detectable drop is that of the hardest of them.
            None where it is not asked for, since it takes longer than all else.
    """
    one_sided = ONE_SIDED[rules.test]
    p = one_sided(lost, won) if p is None else p
    gain = one_sided(won, lost) if gain is None else gain
    low, high = tango(lost, won, count)
    least, most = tango(lost, won, count, 1 - 2 * rules.alpha)
    verdict: Verdict = "ok" if most <= margin else "inconclusive"
    if gain <= rules.alpha:
        verdict = "improved"
    if p <= rules.alpha:
        verdict = "regressed-severe" if least > margin else "regressed"
        if most <= margin:
            verdict = "changed"
        elif verdict == "regressed" and rules.strict:
            verdict = "inconclusive"
    seen, wanted = (None, None) if tests is None else _seen(lost, won, count, margin, rules, tests)
    return Comparison(
        lost=lost,
        won=won,
        count=count,
        drop=(lost - won) / count,
        low=low,
        high=high,
        least=least,
        most=most,
        p=p,
        gain=gain,
        detectable=seen,
        enough=wanted,
        margin=margin,
        verdict=verdict,
    )


def _seen(
    lost: int, won: int, count: int, margin: float, rules: Rules, tests: int
) -> tuple[float | None, int | None]:
    """The smallest drop that is likely shown at this churn; how many would show the margin."""
    churn, alpha = min(lost, won) / count, rules.alpha / tests
    least = detectable(count, churn, alpha, rules.test)
    shown = least is not None and least <= margin
    if shown or margin == 0 or 2 * churn + margin > 1:
        return least, None
    return least, enough(margin, churn, alpha)


@dataclass(frozen=True)
class Rematch:
    """Both sides again, after each was asked about what broke the other.

    ``old`` and ``new`` are the flags that are left: whether each example survives all that is
    known. ``missed`` counts, for old and new, the examples that a side's own panel left standing
    and that the other side's stored input breaks; ``dissolved`` counts what fresh seeds broke of
    the pairs that had been lost and won.
    """

    old: tuple[bool, ...]
    new: tuple[bool, ...]
    missed: tuple[int, int]
    dissolved: tuple[int, int]
    seeds: int
