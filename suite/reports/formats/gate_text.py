"""A gate in words: for a terminal, and as Markdown for a pull request. Imports nothing heavy."""

from __future__ import annotations

import re
from collections.abc import Iterator

from robustbench_kd.regression.decision import MEANS
from robustbench_kd.regression.gate import Finding, Gate
from robustbench_kd.reports.formats._escape import markdown
from robustbench_kd.results.record import Share

ROOM = 60_000  # characters that a comment on a pull request may have, with room to spare
MARK = "<!-- robustbench-kd:gate -->"  # by which a later run finds its own comment
HEADS = (
    "student",
    "against",
    "endpoint",
    "before",
    "after",
    "drop",
    "lost/won",
    "p (Holm)",
    "verdict",
)


def points(share: float) -> str:
    """A share in points: ``2.4``, never ``-0.0``."""
    return f"{100 * share:z.1f}"


def drop(one: Finding) -> str:
    """``a drop of 2.4 points [1.1, 3.9], p = 0.0004``; empty where nothing was paired.

    What improved is told as a gain, with the p-value of a gain.
    """
    n = one.numbers
    if n is None:
        return ""
    if one.verdict == "improved":
        ends = f"[{points(-n.high)}, {points(-n.low)}]"
        return f"a gain of {points(-n.drop)} points {ends}, p = {n.gain:.2g}"
    return f"a drop of {points(n.drop)} points [{points(n.low)}, {points(n.high)}], p = {n.p:.2g}"


def headline(gate: Gate) -> str:
    """The whole gate in one line: whether it holds, by what, and what it could have seen."""
    head = "passed" if gate.code == 0 else "FAILED"
    one = gate.decisive
    numbers = f": {drop(one)} of {one.numbers.count}" if one.numbers else ""
    return f"{head}: {one.verdict}: {one.name}{numbers}; {sight(gate)}"


def sight(gate: Gate) -> str:
    """What the slice can see at all: the largest of the smallest detectable drops."""
    seen = [one.numbers for one in gate.primary if one.numbers]
    if not seen:
        return "nothing could be paired, so no drop can be seen"
    count = min(n.count for n in seen)
    if any(n.detectable is None for n in seen):
        return f"{count} examples can show no drop at all at this churn"
    least = max(n.detectable or 0 for n in seen)
    short = least > max(n.margin for n in seen)
    wanted = max((n.enough or 0 for n in seen), default=0)
    number = f"about {wanted:,}" if wanted else "more"
    more = f", which is more than the margin: take {number} examples" if short else ""
    return f"{count} examples can show a drop of {points(least)} points or more{more}"


def lines(gate: Gate) -> Iterator[str]:
    """What a terminal shows."""
    yield headline(gate)
    for entry, against in dict.fromkeys((f.entry, f.against) for f in gate.findings):
        yield f"{entry}, against the {against} baseline:"
        for one in gate.findings:
            if (one.entry, one.against) == (entry, against):
                yield from (f"  {line}" for line in story(one))


def story(one: Finding) -> Iterator[str]:
    """One endpoint: shares, pairs, verdict, and what is to be noted."""
    n = one.numbers
    if n is None or one.before is None or one.after is None:
        yield f"{one.endpoint}: {one.verdict}: {MEANS[one.verdict]}"
    else:
        means = f"{one.verdict}, {MEANS[one.verdict]} ({points(n.margin)})"
        yield (
            f"{one.endpoint}: {one.before} -> {one.after}; "
            f"lost {n.lost}, won {n.won} of {n.count}: {drop(one)}: {means}"
        )
    yield from (f"  {note}" for note in one.notes)


def as_markdown(gate: Gate) -> str:
    """A comment: the verdict, the endpoints that count, then the rest folded away.

    Sections that do not fit are left out whole, from the end, with a note.
    """
    counting = [one for one in gate.findings if one.role != "attack"]
    single = [one for one in gate.findings if one.role == "attack"]
    notes = [f"- {escaped(one.name)}: {escaped(note)}" for one in counting for note in one.notes]
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
    rows = [HEADS, ("---",) * len(HEADS), *(_row(one) for one in findings)]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows) + "\n"


def _row(one: Finding) -> tuple[str, ...]:
    n = one.numbers
    numbers = ("", "", "")
    if n is not None:
        span = f"{points(n.drop)} [{points(n.low)}, {points(n.high)}]"
        p = n.gain if one.verdict == "improved" else n.p
        numbers = (escaped(span), f"{n.lost}/{n.won} of {n.count}", f"{p:.2g}")
    names = escaped(one.entry), one.against, escaped(one.endpoint)
    word = f"**{one.verdict}**" if one.trips else one.verdict
    return (*names, _share(one.before), _share(one.after), *numbers, word)


def _share(share: Share | None) -> str:
    return escaped(str(share)) if share else ""


def escaped(text: str) -> str:
    """Names can neither break a table nor carry markup, nor call anyone."""
    return re.sub(r"(?<!\w)@", "@<!-- -->", markdown(text))
