"""A gate in words: for a terminal, and as Markdown for a pull request. Imports nothing heavy."""

from __future__ import annotations

import re
from collections.abc import Iterator

from robustbench_kd.core.estimates import Estimate
from robustbench_kd.regression.decision import MEANS
from robustbench_kd.regression.endpoints import in_unit
from robustbench_kd.regression.gate import Finding, Gate
from robustbench_kd.reports.formats._escape import markdown

ROOM = 60_000  # characters that a comment on a pull request may have, with room to spare
MARK = "<!-- robustbench-kd:gate -->"  # by which a later run finds its own comment
HEADS = (
    "student",
    "against",
    "endpoint",
    "before",
    "after",
    "loss",
    "lost/won",
    "p (Holm)",
    "verdict",
)
DIGITS = {"percent": 1, "nats": 3}  # decimals of a difference; 2 of other units


def amount(value: float, unit: str) -> str:
    """A difference as printed: shares in points; ``2.4``, never ``-0.0``."""
    return f"{value * (100 if unit == 'percent' else 1):z.{DIGITS.get(unit, 2)}f}"


def unit_of(finding: Finding) -> str:
    """The unit of a difference."""
    return "points" if finding.unit == "percent" else finding.unit


def loss_word(finding: Finding) -> str:
    """What a loss is called: a metric that is better high drops, the others rise."""
    return "drop" if finding.higher_is_better else "rise"


def change(finding: Finding) -> str:
    """``a drop of 2.4 points [1.1, 3.9], p = 0.0004``; empty where nothing was paired.

    An improvement is a gain (or a fall, where less is better), with the p-value of a gain.
    """
    n = finding.numbers
    if n is None:
        return ""
    words, value, ends, p = loss_word(finding), n.drop, (n.low, n.high), n.p
    if finding.verdict == "improved":
        words = "gain" if finding.higher_is_better else "fall"
        value, ends, p = -n.drop, (-n.high, -n.low), n.gain
    low, high = (amount(end, finding.unit) for end in ends)
    size = f"{amount(value, finding.unit)} {unit_of(finding)}"
    return f"a {words} of {size} [{low}, {high}], p = {p:.2g}"


def headline(gate: Gate) -> str:
    """The whole gate in one line: whether it passes, by what, and what it could have detected."""
    head = "passed" if gate.code == 0 else "FAILED"
    finding = gate.decisive
    numbers = f": {change(finding)} of {finding.numbers.count}" if finding.numbers else ""
    return f"{head}: {finding.verdict}: {finding.name}{numbers}; {sensitivity(gate)}"


def sensitivity(gate: Gate) -> str:
    """What so many samples can show at all, for each metric: the largest detectable loss."""
    metrics: dict[str, list[Finding]] = {}
    for finding in gate.primary:
        if finding.numbers:
            metrics.setdefault(finding.endpoint, []).append(finding)
    if not metrics:
        return "nothing could be paired, so no loss can be detected"
    several = len(metrics) > 1
    return "; ".join(
        (f"{metric}: " if several else "") + _detectable(findings)
        for metric, findings in metrics.items()
    )


def _detectable(findings: list[Finding]) -> str:
    numbers = [finding.numbers for finding in findings if finding.numbers]
    first, count = findings[0], min(n.count for n in numbers)
    samples = f"{count} {'examples' if first.unit == 'percent' else 'samples'}"
    if any(n.detectable is None for n in numbers):
        return f"{samples} can show no {loss_word(first)} at all at this churn"
    least = max(n.detectable or 0 for n in numbers)
    short = least > max(n.margin for n in numbers)
    needed = max((n.enough or 0 for n in numbers), default=0)
    number = f"about {needed:,}" if needed else "more"
    more = f", which is more than the margin: take {number}" if short else ""
    size = f"{amount(least, first.unit)} {unit_of(first)}"
    return f"{samples} can show a {loss_word(first)} of {size} or more{more}"


def lines(gate: Gate) -> Iterator[str]:
    """What a terminal shows."""
    yield headline(gate)
    for entry, against in dict.fromkeys((f.entry, f.against) for f in gate.findings):
        yield f"{entry}, against the {against} baseline:"
        for finding in gate.findings:
            if (finding.entry, finding.against) == (entry, against):
                yield from (f"  {line}" for line in finding_lines(finding))


def finding_lines(finding: Finding) -> Iterator[str]:
    """One endpoint: values, pairs, verdict, and what is to be noted."""
    n = finding.numbers
    if n is None or finding.before is None or finding.after is None:
        yield f"{finding.endpoint}: {finding.verdict}: {MEANS[finding.verdict]}"
    else:
        means = f"{finding.verdict}, {MEANS[finding.verdict]} ({amount(n.margin, finding.unit)})"
        values = " -> ".join(in_unit(v, finding.unit) for v in (finding.before, finding.after))
        yield (
            f"{finding.endpoint}: {values}; "
            f"lost {n.lost}, won {n.won} of {n.count}: {change(finding)}: {means}"
        )
    yield from (f"  {note}" for note in finding.notes)


def as_markdown(gate: Gate) -> str:
    """A comment: the verdict, the endpoints that count, then the rest folded away.

    Sections that do not fit are left out whole, from the end, with a note.
    """
    counting = [finding for finding in gate.findings if finding.role != "attack"]
    single = [finding for finding in gate.findings if finding.role == "attack"]
    notes = [f"- {escaped(f.name)}: {escaped(note)}" for f in counting for note in f.notes]
    parts = [
        f"{MARK}\n**{escaped(headline(gate))}**\n",
        _table(counting),
        *(["\n".join(notes) + "\n"] if notes else []),
        *([_folded(f"Single attacks ({len(single)})", _table(single))] if single else []),
        _folded("How to read this", "\n".join(f"- **{w}**: {m}" for w, m in MEANS.items()) + "\n"),
    ]
    left = len(parts)
    while left > 1 and sum(map(len, parts[:left])) + left > ROOM:
        left -= 1
    if left < len(parts):
        parts[left:] = [f"{len(parts) - left} more sections did not fit here.\n"]
    return "\n".join(parts)


def _folded(title: str, body: str) -> str:
    return f"<details><summary>{title}</summary>\n\n{body}\n</details>\n"


def _table(findings: list[Finding]) -> str:
    rows = [HEADS, ("---",) * len(HEADS), *(_row(finding) for finding in findings)]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows) + "\n"


def _row(finding: Finding) -> tuple[str, ...]:
    n = finding.numbers
    numbers = ("", "", "")
    if n is not None:
        value, low, high = (amount(v, finding.unit) for v in (n.drop, n.low, n.high))
        unit = "" if finding.unit == "percent" else f" {finding.unit}"
        p = n.gain if finding.verdict == "improved" else n.p
        span = escaped(f"{value} [{low}, {high}]{unit}")
        numbers = (span, f"{n.lost}/{n.won} of {n.count}", f"{p:.2g}")
    names = escaped(finding.entry), finding.against, escaped(finding.endpoint)
    verdict = f"**{finding.verdict}**" if finding.trips else finding.verdict
    values = (_value(v, finding.unit) for v in (finding.before, finding.after))
    return (*names, *values, *numbers, verdict)


def _value(value: Estimate | None, unit: str) -> str:
    return escaped(in_unit(value, unit)) if value else ""


def escaped(text: str) -> str:
    """Names can neither break a table nor carry markup, nor call anyone."""
    return re.sub(r"(?<!\w)@", "@<!-- -->", markdown(text))
