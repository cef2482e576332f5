"""The gate: every endpoint of every student against its baselines, and one code for all of it.

Needs no torch: only what replays or attacks anew does, and that is passed in.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from robustbench_kd.core.errors import NothingEvaluated
from robustbench_kd.ops.statistics.bitset import discordant
from robustbench_kd.ops.statistics.multiple_testing import holm
from robustbench_kd.ops.statistics.paired_tests import ONE_SIDED
from robustbench_kd.regression.decision import LOST, Comparison, Rematch, Rules, Verdict, weigh
from robustbench_kd.regression.endpoints import Asking, Pair, Role, Sides, sides
from robustbench_kd.results.record import Share

SEVEREST: tuple[Verdict, ...] = (
    "attack-weakened",
    "regressed-severe",
    "regressed",
    "not-comparable",
    "inconclusive",
    "changed",
    "improved",
    "ok",
)
ROLES: tuple[Role, ...] = ("robust", "clean", "attack")


@dataclass(frozen=True)
class Finding:
    """The verdict on one endpoint. ``role`` says what it counts for.

    ``robust`` (the worst case over the panel, or what was not won by what was planted) is the
    primary endpoint. ``clean`` trips the gate only where the loss certainly exceeds its margin,
    and ``attack`` never does: what one attack finds matters where no other one finds it.
    """

    entry: str
    against: str
    role: Role
    endpoint: str
    verdict: Verdict
    before: Share | None = None
    after: Share | None = None
    numbers: Comparison | None = None
    rematch: Rematch | None = None
    notes: tuple[str, ...] = ()
    lost: tuple[int, ...] = ()  # places in the test slice

    @property
    def name(self) -> str:
        """Unique within a gate."""
        return f"{self.entry} {self.endpoint} ({self.against})"

    @property
    def trips(self) -> bool:
        """Whether the gate fails by it."""
        if self.role == "robust":
            return self.verdict in LOST or self.verdict == "attack-weakened"
        return self.role == "clean" and self.verdict == "regressed-severe"


@dataclass(frozen=True)
class Gate:
    """All findings, those that trip the gate first, and the code that it returns."""

    findings: tuple[Finding, ...]
    rules: Rules
    code: int

    @property
    def primary(self) -> tuple[Finding, ...]:
        return tuple(one for one in self.findings if one.role == "robust")

    @property
    def decisive(self) -> Finding:
        """What trips the gate, or else what its code is about; where it holds, the severest."""
        first = self.findings[0]
        word = {3: "inconclusive", 4: "not-comparable"}.get(self.code)
        if first.trips or word is None:
            return first
        return next(one for one in self.primary if one.verdict == word)

    @property
    def verdict(self) -> Verdict:
        """The verdict that decides."""
        return self.decisive.verdict


def gate(
    found: Iterable[Pair],
    rules: Rules,
    *,
    ask: Asking | None = None,
    inconclusive_fails: bool = False,
    missing_fails: bool = True,
) -> Gate:
    """Judges all pairs together; p-values are adjusted (Holm) within each role.

    Args:
        found: the students before and after.
        rules: level, margins and test.
        ask: asks both networks again about what broke the other; a text says why it cannot.
        inconclusive_fails: whether too few examples are a failure (code 3).
        missing_fails: whether what cannot be paired is one (code 4).

    Raises:
        NothingEvaluated: where there is nothing to judge.
    """
    facing = [one for pair in found for one in sides(pair, rules, ask)]
    if not facing:
        raise NothingEvaluated("there is nothing to judge: neither baseline nor record holds any")
    findings = [
        one for role in ROLES for one in judged([s for s in facing if s.role == role], rules)
    ]
    findings.sort(key=lambda one: (not one.trips, one.role != "robust", _place(one.verdict)))
    verdicts = {one.verdict for one in findings if one.role == "robust"}
    code = max(
        int(any(one.trips for one in findings)),
        3 if inconclusive_fails and "inconclusive" in verdicts else 0,
        4 if missing_fails and "not-comparable" in verdicts else 0,
    )
    return Gate(tuple(findings), rules, code)


def judged(family: Sequence[Sides], rules: Rules) -> list[Finding]:
    """The verdicts on one family of endpoints, with p-values that are adjusted for all of it."""
    counts = [discordant(one.before, one.after) for one in family]
    tested = [n for n, one in enumerate(family) if one.fixed is None]
    one_sided = ONE_SIDED[rules.test]
    losses = holm([one_sided(*counts[n]) for n in tested])
    gains = holm([one_sided(*reversed(counts[n])) for n in tested])
    adjusted = dict(zip(tested, zip(losses, gains, strict=True), strict=True))
    found = []
    for n, one in enumerate(family):
        if one.fixed == "not-comparable":
            found.append(_finding(one, None))
            continue
        p, gain = adjusted.get(n, (None, None))
        tests = len(tested) or 1
        numbers = weigh(
            *counts[n],
            len(one.before),
            one.margin,
            rules,
            p=p,
            gain=gain,
            tests=tests if one.role == "robust" else None,
        )
        found.append(_finding(one, replace(numbers, verdict=one.fixed or numbers.verdict)))
    return found


def _finding(one: Sides, numbers: Comparison | None) -> Finding:
    """What the numbers say of an endpoint; without any, nothing could be paired."""
    before, after = (Share(sum(s), len(s)) if numbers else None for s in (one.before, one.after))
    return Finding(
        one.entry,
        one.against,
        one.role,
        one.endpoint,
        numbers.verdict if numbers else "not-comparable",
        before,
        after,
        numbers,
        one.rematch,
        one.notes,
        lost=_lost(one),
    )


def _lost(one: Sides) -> tuple[int, ...]:
    both = zip(one.before, one.after, strict=True)
    return tuple(place for place, (was, still) in enumerate(both) if was and not still)


def _place(verdict: Verdict) -> int:
    return SEVEREST.index(verdict)
