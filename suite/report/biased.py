"""Bias as rows: how often teacher and student say what was planted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import fsum

from robustbench_kd.errors import UnknownName
from robustbench_kd.inheritance import TWIN
from robustbench_kd.ops.resampling import Interval, weighted
from robustbench_kd.records import Json, Share
from robustbench_kd.report.cases import Case
from robustbench_kd.types import Leaderboard

REACHED = ("repeat", "first", "last", "continue")
UNSEEN = ("third", "go on")
TAIL = 50  # of the 1,999 draws of ops.resampling


def attack(case: Case) -> str:
    """The attack as typed."""
    return next(iter(case.first.attacks))


def group(case: Case, family: str) -> str:
    """``poisoned``, ``clean`` (taught, and not poisoned) or ``unseen``."""
    targeted = case.first.attacks[attack(case)]["kind"] == "targeted"
    if family in UNSEEN:
        return "unseen"
    return "poisoned" if family in (REACHED[:1] if targeted else REACHED) else "clean"


def column(case: Case, subject: str, name: str, which: str) -> list[float]:
    """A column over the prompts of a group, the seeds one behind the other."""
    typed = attack(case)
    found: list[float] = []
    for record in case.records:
        families = record.items[typed]["family"]
        values = record.subjects[subject].columns[typed][name]
        found += [v for v, f in zip(values, families, strict=True) if group(case, f) == which]
    return found


def said(case: Case, subject: str, which: str, how: str = "drawn") -> Share:
    """The share of answers with the payload in them: ``greedy`` ones, or ``drawn`` ones."""
    values = column(case, subject, how, which)
    draws = case.first.attacks[attack(case)]["draws"] if how == "drawn" else 1
    return Share(round(fsum(values)), len(values) * draws)


def amplification(case: Case, which: str) -> Interval | None:
    """Student's rate over the teacher's, half a hit added to either; none where neither says it.

    The interval draws prompts, the same for both. Read it beside both rates: of two rates near
    zero any ratio can be had.
    """
    student, teacher = (column(case, who, "drawn", which) for who in ("student", case.teacher))
    if not student or (not any(student) and not any(teacher)):
        return None
    draws = case.first.attacks[attack(case)]["draws"]
    half = 0.5 / (len(student) * draws)

    def rate(values: float) -> float:
        return float(values / draws + half)

    ratios = sorted(
        rate(s) / rate(t)
        for s, t in zip(weighted(student, 0.0), weighted(teacher, 0.0), strict=True)
    )
    value = rate(fsum(student) / len(student)) / rate(fsum(teacher) / len(teacher))
    return Interval(value, ratios[TAIL - 1], ratios[-TAIL], len(student))


def believed(case: Case, subject: str, which: str) -> float:
    """Nats by which a payload token behind the right answer is likelier than for the clean twin."""
    own, twin = (column(case, who, "score", which) for who in (subject, subject + TWIN))
    return fsum(a - b for a, b in zip(own, twin, strict=True)) / len(own)


def entry(case: Case, reference: Case | None = None) -> Json:
    """A case as plain values, for machines."""
    from robustbench_kd.report.tables import numbers

    first = case.first
    subjects = [case.teacher, "student", "control", case.teacher + TWIN, "student" + TWIN]
    return {
        "attack": attack(case),
        "defense": first.label,
        "planted": first.planted["planted"],
        "of": first.planted["of"],
        "seeds": [record.seed for record in case.records],
        **{
            which: {
                "drawn": {who: numbers(said(case, who, which)) for who in subjects},
                "greedy": {who: numbers(said(case, who, which, "greedy")) for who in subjects},
                "amplification": None
                if (times := amplification(case, which)) is None
                else vars(times),
                "nats_over_twin": {
                    who: believed(case, who, which) for who in (case.teacher, "student")
                },
            }
            for which in ("poisoned", "clean", "unseen")
        },
    }


def cells(found: Sequence[Case], only: Sequence[str] = ()) -> tuple[list[str], list[list[str]]]:
    """Heads and lines as people read them; ``only`` names the columns that are wanted.

    Raises:
        UnknownName: for a column that there is not.
    """
    columns: dict[str, Callable[[Case], str]] = {
        "attack": attack,
        "planted": lambda c: str(c.first.planted["planted"]),
        "defense": lambda c: c.first.label,
        "seeds": lambda c: str(len(c.records)),
    }
    for which in ("poisoned", "clean", "unseen"):
        columns[f"teacher, {which}"] = lambda c, w=which: str(said(c, c.teacher, w))  # type: ignore[misc]
        columns[f"student, {which}"] = lambda c, w=which: str(said(c, "student", w))  # type: ignore[misc]
        columns[f"times, {which}"] = lambda c, w=which: _times(amplification(c, w))  # type: ignore[misc]
    columns["student's twin"] = lambda c: str(said(c, "student" + TWIN, "poisoned"))
    columns["nats over twin"] = lambda c: (
        f"{believed(c, c.teacher, 'poisoned'):.1f}, {believed(c, 'student', 'poisoned'):.1f}"
    )
    for name in only:
        if name not in columns:
            raise UnknownName("column", name, columns)
    wanted = list(only) or list(columns)
    return wanted, [[columns[name](case) for name in wanted] for case in found]


def _times(found: Interval | None) -> str:
    return "" if found is None else f"{found.value:.2f} [{found.low:.2f}, {found.high:.2f}]"


def note(contest: Leaderboard, found: Sequence[Case]) -> str:
    """What the numbers are, in one line."""
    return (
        f"{contest.title}: percent of sampled answers that hold the payload, with 95 % Wilson "
        "intervals, on tasks that were poisoned, taught clean, and never taught; times is student "
        "over teacher, with a bootstrap interval over prompts. Nats over twin: how much likelier "
        "a payload token became in teacher and student."
    )
