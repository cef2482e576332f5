"""The gate: every endpoint of every student against its baselines, and one code for all of it.

Needs no torch: only what queries or attacks networks again does, and that is passed in.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from robustbench_kd.core.errors import NothingEvaluated
from robustbench_kd.core.estimates import Estimate
from robustbench_kd.ops.statistics.multiple_testing import holm
from robustbench_kd.ops.statistics.paired_means import mean_loss_p
from robustbench_kd.ops.statistics.paired_tests import ONE_SIDED
from robustbench_kd.regression.decision import LOST, Comparison, CrossReplay, Rules, Verdict
from robustbench_kd.regression.endpoints import Role
from robustbench_kd.regression.paired_comparison import compare_bits, compare_numbers
from robustbench_kd.regression.pairing import EndpointPair, Replayer, StudentPair, endpoint_pairs

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
ROLES: tuple[Role, ...] = ("primary", "utility", "attack")


@dataclass(frozen=True)
class Finding:
    """The verdict on one endpoint.

    Attributes:
        role: ``primary`` trips the gate by any regression, ``utility`` only where the loss
            certainly exceeds its margin, and ``attack`` never: what one attack of a panel misses
            matters where no other one breaks it.
        before: the share or mean of the old student; None where nothing could be paired.
        unit: of both, and of the numbers; shares are in percent.
        lost: positions of the samples that went well before (of numbers, of those that are worse
            by more than the margin).
    """

    entry: str
    against: str
    role: Role
    endpoint: str
    verdict: Verdict
    before: Estimate | None = None
    after: Estimate | None = None
    unit: str = "percent"
    higher_is_better: bool = True
    numbers: Comparison | None = None
    replay: CrossReplay | None = None
    notes: tuple[str, ...] = ()
    lost: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        """Unique within a gate."""
        return f"{self.entry} {self.endpoint} ({self.against})"

    @property
    def trips(self) -> bool:
        """Whether the gate fails by it."""
        if self.role == "primary":
            return self.verdict in LOST or self.verdict == "attack-weakened"
        return self.role == "utility" and self.verdict == "regressed-severe"


@dataclass(frozen=True)
class Gate:
    """All findings, those that trip the gate first, and the code that it returns."""

    findings: tuple[Finding, ...]
    rules: Rules
    code: int

    @property
    def primary(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.role == "primary")

    @property
    def decisive(self) -> Finding:
        """What trips the gate, or else what its code is about; where it holds, the severest."""
        first = self.findings[0]
        verdict = {3: "inconclusive", 4: "not-comparable"}.get(self.code)
        if first.trips or verdict is None:
            return first
        return next(finding for finding in self.primary if finding.verdict == verdict)

    @property
    def verdict(self) -> Verdict:
        """The verdict that decides."""
        return self.decisive.verdict


def gate(
    pairs: Iterable[StudentPair],
    rules: Rules,
    *,
    replayer: Replayer | None = None,
    inconclusive_fails: bool = False,
    missing_fails: bool = True,
) -> Gate:
    """Tests all pairs together; p-values are adjusted (Holm) within each role.

    Args:
        pairs: the students before and after.
        rules: level, margins and test.
        replayer: queries both networks with the inputs that broke the other; a text says why not.
        inconclusive_fails: whether too few samples are a failure (code 3).
        missing_fails: whether what cannot be paired is one (code 4).

    Raises:
        NothingEvaluated: where there is nothing to test.
    """
    family = list(pairs)
    ends = [end for pair in family for end in endpoint_pairs(pair, rules, replayer, len(family))]
    if not ends:
        raise NothingEvaluated("there is nothing to test: neither baseline nor record holds any")
    findings = [
        finding
        for role in ROLES
        for finding in decide([end for end in ends if end.role == role], rules)
    ]
    findings.sort(key=lambda f: (not f.trips, f.role != "primary", SEVEREST.index(f.verdict)))
    verdicts = {finding.verdict for finding in findings if finding.role == "primary"}
    code = max(
        int(any(finding.trips for finding in findings)),
        3 if inconclusive_fails and "inconclusive" in verdicts else 0,
        4 if missing_fails and "not-comparable" in verdicts else 0,
    )
    return Gate(tuple(findings), rules, code)


def decide(family: Sequence[EndpointPair], rules: Rules) -> list[Finding]:
    """The verdicts on one family of endpoints, with p-values that are adjusted for all of it."""
    open_ends = [n for n, end in enumerate(family) if end.fixed is None]
    values = [_p_values(family[n], rules) for n in open_ends]
    losses, gains = holm([p for p, _ in values]), holm([gain for _, gain in values])
    adjusted = dict(zip(open_ends, zip(losses, gains, strict=True), strict=True))
    tests = len(open_ends) or 1
    findings = []
    for n, end in enumerate(family):
        p, gain = adjusted.get(n, (None, None))
        findings.append(_finding(end, p, gain, tests, rules))
    return findings


def _p_values(end: EndpointPair, rules: Rules) -> tuple[float, float]:
    """Of a loss and of a gain."""
    if end.of_bits:
        lost, won = end.counts
        return ONE_SIDED[rules.test](lost, won), ONE_SIDED[rules.test](won, lost)
    return mean_loss_p(end.losses), mean_loss_p(tuple(-loss for loss in end.losses))


def _finding(
    end: EndpointPair, p: float | None, gain: float | None, tests: int, rules: Rules
) -> Finding:
    finding = Finding(
        end.entry, end.against, end.role, end.endpoint, "not-comparable", notes=end.notes
    )
    if end.before is None or end.after is None:
        return finding
    shown = tests if end.role == "primary" else None
    lost: tuple[int, ...]
    if end.of_bits:
        numbers = compare_bits(
            *end.counts, end.before.count, end.margin, rules, p=p, gain=gain, tests=shown
        )
        flags = zip(end.before.favourable, end.after.favourable, strict=True)
        lost = tuple(n for n, (before, after) in enumerate(flags) if before and not after)
    else:
        bound = end.after.bound
        numbers = compare_numbers(
            end.losses, end.margin, rules, bound=bound, p=p, gain=gain, tests=shown
        )
        lost = tuple(n for n, loss in enumerate(end.losses) if loss > end.margin)
    numbers = replace(numbers, verdict=end.fixed or numbers.verdict)
    return replace(
        finding,
        verdict=numbers.verdict,
        before=end.before.estimate,
        after=end.after.estimate,
        unit=end.after.unit,
        higher_is_better=end.after.higher_is_better,
        numbers=numbers,
        replay=end.replay,
        lost=lost,
    )
