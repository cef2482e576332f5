"""What comes out word for word, and who is told from whom, over all seeds of a case."""

from __future__ import annotations

from robustbench_kd.metrics._groups import Case
from robustbench_kd.ops.privacy.exposure import discoverable, dynamics
from robustbench_kd.ops.statistics.roc import Area, Caught, auc, tpr_at
from robustbench_kd.results.record import Share

TRIES = 1_000
METHODS = ("score", "zlib", "min_k", "min_k_plus_plus", "reference", "lira", "rmia")


def extracted(case: Case, subject: str, kind: str, column: str = "greedy") -> Share:
    """The share that comes out word for word, of ``canaries`` or of ``text``."""
    hits = [flag for seed in memorised(case, subject, kind, column) for flag in seed]
    return Share(sum(hits), len(hits))


def memorised(case: Case, subject: str, kind: str, column: str = "greedy") -> list[list[bool]]:
    """Whether each planted canary, or each member of the audited text, comes out; by seed."""
    found = []
    for record in case.records:
        items = record.items[record.typed("extraction") or ""]
        flags = record.column(subject, "extraction", column)
        rows = zip(items["family"], items["dose"], flags, strict=True)
        found.append(
            [f > 0 for fam, dose, f in rows if dose and (fam == "text") == (kind == "text")]
        )
    return found


def inherited(case: Case) -> dict[str, tuple[int, int]]:
    """Who memorised what of the planted canaries, summed over seeds."""
    total: dict[str, tuple[int, int]] = {}
    columns = [memorised(case, who, "canaries") for who in (case.teacher, "control", "student")]
    for teacher, control, student in zip(*columns, strict=True):
        for name, (hits, count) in vars(dynamics(teacher, control, student)).items():
            before = total.get(name, (0, 0))
            total[name] = (before[0] + hits, before[1] + count)
    return total


def tried(case: Case, subject: str, kind: str, tries: int = TRIES) -> Share:
    """The share that comes out with even odds in so many samples."""
    hits = count = 0
    for record in case.records:
        items = record.items[record.typed("extraction") or ""]
        rows = zip(
            items["family"],
            items["dose"],
            record.column(subject, "extraction", "score"),
            strict=True,
        )
        logp = [p for fam, dose, p in rows if dose and (fam == "text") == (kind == "text")]
        one, of = discoverable([min(0.0, p) for p in logp], tries)
        hits, count = hits + one, count + of
    return Share(hits, count)


def membership(case: Case, subject: str, method: str) -> tuple[Area, Caught | None]:
    """How well a score tells members from strangers, all seeds together.

    Members caught at 1 % false alarms only where there are a hundred strangers to be alarmed at.
    """
    inside: list[float] = []
    outside: list[float] = []
    for record in case.records:
        doses = record.items[record.typed("membership") or ""]["dose"]
        scores = record.column(subject, "membership", method)
        inside += [s for s, d in zip(scores, doses, strict=True) if d]
        outside += [s for s, d in zip(scores, doses, strict=True) if not d]
    return auc(inside, outside), tpr_at(inside, outside) if len(outside) >= 100 else None


def methods(case: Case) -> list[str]:
    """The membership scores that the records hold."""
    typed = case.first.typed("membership")
    held = case.first.subjects["student"].columns[typed] if typed else {}
    return [name for name in METHODS if name in held]
