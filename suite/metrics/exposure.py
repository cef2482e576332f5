"""Probed records as rows: what each network knows of what was planted, and at what cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from robustbench_kd.core.config import Leaderboard
from robustbench_kd.core.errors import UnknownName
from robustbench_kd.metrics._groups import ALL, BUT, Case, apart, reference_of
from robustbench_kd.metrics.known import (
    bits_per_byte,
    epsilon,
    exposed,
    fallen,
    first_ranked,
    leaked,
    perplexity,
    pooled,
    pooled_ranks,
    worse,
)
from robustbench_kd.metrics.memorization import extracted, inherited, membership, methods, tried
from robustbench_kd.ops.privacy.exposure import chance_p, mean_exposure, memorised_p
from robustbench_kd.ops.statistics.bootstrap import Interval
from robustbench_kd.ops.statistics.roc import Caught
from robustbench_kd.results.record import Json, Share


def entry(case: Case, reference: Case | None) -> Json:
    """A case as plain values, for machines."""
    first = case.first
    families = [*case.families, ALL]
    smallest = min(of for _, of in pooled_ranks(case, "student"))

    def none(dose: int) -> bool:
        return dose == 0

    return {
        "defense": first.label,
        "told": first.defense["told"],
        "door": first.door,
        "seeds": [record.seed for record in case.records],
        "exposure": {
            who: {f: vars(exposed(case, who, f)) for f in families} for who in first.subjects
        },
        "exposure_by_dose": {
            who: {
                str(dose): vars(
                    mean_exposure(
                        pooled(case.bits(who, dose=lambda n, d=dose: n == d)),  # type: ignore[misc]
                        max(of for _, of in pooled_ranks(case, who)),
                    )
                )
                for dose in case.doses
            }
            for who in first.subjects
        },
        "leakage": {f: vars(leaked(case, "student", f)) for f in families},
        "memorised_p": memorised_p(pooled(case.bits("student"))),
        "chance_p_at_dose_0": {
            who: chance_p(pooled(case.bits(who, dose=none)), smallest) for who in first.subjects
        },
        "rank_1": _share(first_ranked(case, "student")),
        "rank_1_by_dose": {
            who: {
                str(dose): _share(first_ranked(case, who, lambda n, d=dose: n == d))  # type: ignore[misc]
                for dose in case.doses
            }
            for who in first.subjects
        },
        "epsilon": dict(zip(("bound", "copies"), epsilon(case, "student"), strict=True)),
        **(_said(case) if first.typed("extraction") else {}),
        "membership": {
            method: {
                "auc": vars(found[0]),
                "tpr_at_1_percent_fpr": _caught(found[1]),
            }
            for method in methods(case)
            for found in (membership(case, "student", method),)
        },
        "perplexity": {who: vars(perplexity(case, who)) for who in first.subjects},
        "bits_per_byte": {who: bits_per_byte(case, who) for who in first.subjects},
        "against": None
        if reference is None
        else {
            "defense": reference.first.label,
            "exposure_below": {
                f: None if (fall := fallen(case, reference, f)) is None else vars(fall)
                for f in (*families, *(BUT + f for f in case.families if len(families) > 2))
            },
            "perplexity_above": None if (more := worse(case, reference)) is None else vars(more),
        },
    }


def _caught(caught: Caught | None) -> Json | None:
    if caught is None:
        return None
    return {name: getattr(caught, name) for name in ("value", "low", "high", "hits", "count")}


def _said(case: Case) -> Json:
    """What comes out word for word, by network and kind of text."""
    kinds = ("canaries", "text")
    return {
        "extracted": {
            kind: {who: _share(extracted(case, who, kind)) for who in case.first.subjects}
            for kind in kinds
        },
        "discoverable": {kind: _share(tried(case, "student", kind)) for kind in kinds},
        "dynamics": {name: list(pair) for name, pair in inherited(case).items()},
    }


def _share(share: Share) -> Json:
    low, high = share.interval
    return {
        "value": share.value,
        "low": low,
        "high": high,
        "hits": share.hits,
        "count": share.count,
    }


def cells(found: Sequence[Case], only: Sequence[str] = ()) -> tuple[list[str], list[list[str]]]:
    """Heads and lines as people read them; ``only`` names the columns that are wanted.

    Raises:
        UnknownName: for a column that there is not.
    """
    families = found[0].families if found else []
    columns: dict[str, Callable[[Case], str]] = {
        "defense": lambda c: c.first.label + (" (told)" if c.first.defense["told"] else ""),
        "seeds": lambda c: str(len(c.records)),
        **{
            family: lambda c, f=family: _bits(exposed(c, "student", f))  # type: ignore[misc]
            for family in families
        },
        "exposure below": lambda c: _percent(_against(found, c, fallen)),
        "perplexity": lambda c: _plain(perplexity(c, "student")),
        "perplexity above": lambda c: _percent(_against(found, c, worse)),
        "worst leakage": lambda c: _percent(
            max((leaked(c, "student", f) for f in families), key=lambda i: i.value)
        ),
        "rank 1": lambda c: str(first_ranked(c, "student")),
        "extracted": lambda c: str(extracted(c, "student", "canaries")),
        "membership AUC": lambda c: _area(c),
        "teacher": lambda c: _bits(exposed(c, c.teacher)),
        "control": lambda c: _bits(exposed(c, "control")),
    }
    for attack, name in (("extraction", "extracted"), ("membership", "membership AUC")):
        if not all(case.first.typed(attack) for case in found):
            del columns[name]
    for name in only:
        if name not in columns:
            raise UnknownName("column", name, columns)
    wanted = list(only) or list(columns)
    return wanted, [[columns[name](case) for name in wanted] for case in found]


def _against(
    found: Sequence[Case], case: Case, measure: Callable[[Case, Case], Interval | None]
) -> Interval | None:
    reference = reference_of(found, case)
    return None if reference is None else measure(case, reference)


def _area(case: Case) -> str:
    """The score that tells members best; it is the best of several, and its name stands by it."""
    held = methods(case)
    best = max(held, key=lambda m: membership(case, "student", m)[0].value)
    area = membership(case, "student", best)[0]
    return f"{area.value:.2f} [{area.low:.2f}, {area.high:.2f}] {best.replace('_', ' ')}"


def _bits(found: Interval) -> str:
    return f"{found.value:.1f} [{found.low:.1f}, {found.high:.1f}]"


def _plain(found: Interval) -> str:
    return f"{found.value:.1f} [{found.low:.1f}, {found.high:.1f}]"


def _percent(found: Interval | None) -> str:
    if found is None:
        return ""
    return f"{100 * found.value:z.1f} [{100 * found.low:z.1f}, {100 * found.high:z.1f}]"


def note(contest: Leaderboard, found: Sequence[Case]) -> str:
    """What the numbers are, in one line."""
    count = len(pooled(found[0].bits("student"))) if found else 0
    return (
        f"{contest.title}: mean exposure in bits of what was planted, by format ({count} canaries "
        "over all seeds), with 95 % intervals over canaries; a stranger's is 1.4. Exposure below "
        "and perplexity above compare with plain distillation, in percent, paired. Told rows know "
        "what was planted." + apart(found)
    )
