"""Probed records as rows: what each network knows of what was planted, and at what cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import exp, fsum, log, log2, sqrt

from robustbench_kd.errors import UnknownName
from robustbench_kd.exposed import Probed
from robustbench_kd.ops.detection import Area, Caught, auc, tpr_at
from robustbench_kd.ops.exposure import (
    chance_p,
    discoverable,
    dynamics,
    epsilon_bound,
    leakage,
    mean_exposure,
    memorised_p,
    reduction,
)
from robustbench_kd.ops.resampling import Interval
from robustbench_kd.records import Json, Share
from robustbench_kd.types import Leaderboard

ALL = "all"  # every format together
TRIES = 1_000
METHODS = ("score", "zlib", "min_k", "min_k_plus_plus", "reference", "lira", "rmia")


@dataclass(frozen=True)
class Case:
    """One defense under one taint: the record of each seed, the lowest first."""

    records: tuple[Probed, ...]

    @property
    def first(self) -> Probed:
        """The record of the lowest seed."""
        return self.records[0]

    @property
    def teacher(self) -> str:
        """The teacher that saw what was planted."""
        return "teacher-clean"

    @property
    def families(self) -> list[str]:
        """The formats of canaries, in the order in which they were asked about."""
        typed = self.first.typed("canary")
        return list(dict.fromkeys(self.first.items[typed]["family"])) if typed else []

    def ranks(
        self, subject: str, family: str = ALL, dose: Callable[[int], bool] = bool
    ) -> list[list[tuple[float, int]]]:
        """(rank, of) of the canaries of a format and of these doses, one list a seed."""
        found = []
        for record in self.records:
            items = record.items[record.typed("canary") or ""]
            rows = zip(
                items["family"],
                items["dose"],
                record.column(subject, "canary", "rank"),
                record.column(subject, "canary", "of"),
                strict=True,
            )
            found.append(
                [(k, int(of)) for f, n, k, of in rows if family in (ALL, f) and dose(int(n))]
            )
        return found

    def bits(
        self, subject: str, family: str = ALL, dose: Callable[[int], bool] = bool
    ) -> list[list[float]]:
        """Their exposures in bits, one list a seed."""
        return [
            [log2(of) - log2(rank) for rank, of in seed]
            for seed in self.ranks(subject, family, dose)
        ]

    @property
    def doses(self) -> list[int]:
        """The doses, from none upwards."""
        typed = self.first.typed("canary") or ""
        return sorted(set(self.first.items[typed]["dose"]))


def cases(contest: Leaderboard, records: Sequence[Probed]) -> list[Case]:
    """One case a defense and taint; attacks and defenses in the order of the board."""
    groups: dict[tuple[str, str], dict[int, Probed]] = {}
    for record in sorted(records, key=lambda r: r.seed):
        if record.board == contest.name:
            groups.setdefault(("+".join(record.attacks), record.label), {})[record.seed] = record
    order = {text: n for n, text in enumerate((*contest.panel, *contest.defenses))}
    last = len(order)
    return [
        Case(tuple(groups[key].values()))
        for key in sorted(groups, key=lambda k: (order.get(k[0], last), order.get(k[1], last), k))
    ]


def pooled(lists: Sequence[Sequence[float]]) -> list[float]:
    """All seeds' numbers."""
    return [value for one in lists for value in one]


def exposed(case: Case, subject: str, family: str = ALL) -> Interval:
    """Mean exposure in bits of what was planted."""
    ranks = pooled_ranks(case, subject, family)
    return mean_exposure([log2(of) - log2(k) for k, of in ranks], max(of for _, of in ranks))


def pooled_ranks(
    case: Case, subject: str, family: str = ALL, dose: Callable[[int], bool] = bool
) -> list[tuple[float, int]]:
    """(rank, of) of all seeds."""
    return [pair for seed in case.ranks(subject, family, dose) for pair in seed]


def leaked(case: Case, subject: str, family: str = ALL) -> Interval:
    """Exposure above chance as a share of what could be had."""
    ranks = pooled_ranks(case, subject, family)
    return leakage([log2(of) - log2(k) for k, of in ranks], [of for _, of in ranks])


def fallen(case: Case, reference: Case, family: str = ALL) -> Interval | None:
    """By which share exposure above chance is below the reference's, over their common seeds.

    With several formats each pair counts by its own ceiling; the widest bounds the interval.
    """
    seeds = [r.seed for r in case.records if r.seed in {q.seed for q in reference.records}]
    if not seeds or case.first.label == reference.first.label:
        return None
    mine, other = (
        [
            bits
            for record, bits in zip(one.records, one.bits("student", family), strict=True)
            if record.seed in seeds
        ]
        for one in (case, reference)
    )
    most = max(of for _, of in pooled_ranks(case, "student", family))
    return reduction(mine, other, most)


def perplexity(case: Case, subject: str) -> Interval:
    """exp of the mean nats a token on the test text, all seeds; the interval is about its rows.

    Windows follow each other without overlap, and each predicts all of its tokens.
    """
    rows = _rows(case, subject)
    asked = case.first.test["asked"]
    value = fsum(rows) / sum(asked)
    spread = _error([row / n for row, n in zip(rows, asked, strict=True)])
    return Interval(exp(value), exp(value - spread), exp(value + spread), len(rows))


def worse(case: Case, reference: Case) -> Interval | None:
    """Perplexity relative to the reference's, less one, paired by row of the test text."""
    seeds = {r.seed for r in case.records} & {r.seed for r in reference.records}
    if not seeds or case.first.label == reference.first.label:
        return None
    mine, other = (
        _rows(Case(tuple(r for r in one.records if r.seed in seeds)), "student")
        for one in (case, reference)
    )
    asked = case.first.test["asked"]
    gaps = [(a - b) / n for a, b, n in zip(mine, other, asked, strict=True)]
    value, spread = (fsum(mine) - fsum(other)) / sum(asked), _error(gaps)
    return Interval(exp(value) - 1, exp(value - spread) - 1, exp(value + spread) - 1, len(gaps))


def bits_per_byte(case: Case, subject: str) -> float:
    """Bits that each byte of the test text takes; no tokenizer enters into it."""
    return fsum(_rows(case, subject)) / log(2) / sum(case.first.test["bytes"])


def _rows(case: Case, subject: str) -> list[float]:
    """Nats of each test row, the mean over seeds."""
    every = [record.subjects[subject].nats for record in case.records]
    return [fsum(row) / len(row) for row in zip(*every, strict=True)]


def _error(values: Sequence[float]) -> float:
    """Half of a 95 % interval of the mean; there are hundreds of rows."""
    mean = fsum(values) / len(values)
    variance = fsum((v - mean) ** 2 for v in values) / (len(values) - 1)
    return 1.96 * sqrt(variance / len(values))


def first_ranked(case: Case, subject: str, dose: Callable[[int], bool] = bool) -> Share:
    """The share of canaries that rank first."""
    ranks = pooled_ranks(case, subject, dose=dose)
    return Share(sum(rank == 1 for rank, _ in ranks), len(ranks))


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


def epsilon(case: Case, subject: str) -> tuple[float, int]:
    """The largest lower bound of epsilon for a single copy, and the dose that shows it.

    Doses and formats are looked at one by one, so the error is shared among them.
    """
    doses = [dose for dose in case.doses if dose]
    looks = len(doses) * len(case.families)
    best = (0.0, doses[0])
    for dose in doses:
        for family in case.families:
            ranks = pooled_ranks(case, subject, family, lambda n, d=dose: n == d)  # type: ignore[misc]
            bound = epsilon_bound(
                [max(1, round(rank)) for rank, _ in ranks],
                ranks[0][1],
                copies=dose,
                confidence=1 - 0.05 / looks,
            )
            best = max(best, (bound, dose))
    return best


def entry(case: Case, reference: Case | None) -> Json:
    """A case as plain values, for machines."""
    first = case.first
    families = [*case.families, ALL]
    controls = pooled_ranks(case, "student", dose=lambda n: n == 0)
    control_bits = [log2(of) - log2(rank) for rank, of in controls]
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
        "chance_p_at_dose_0": chance_p(control_bits, min(of for _, of in controls)),
        "rank_1": _share(first_ranked(case, "student")),
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
                for f in families
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


def reference_of(found: Sequence[Case]) -> Case | None:
    """Plain distillation, which others are measured against."""
    soft = [case for case in found if case.first.defense["name"] == "distillation"]
    soft = [case for case in soft if "hard" not in case.first.defense["settings"]]
    return soft[0] if soft else None


def cells(found: Sequence[Case], only: Sequence[str] = ()) -> tuple[list[str], list[list[str]]]:
    """Heads and lines as people read them; ``only`` names the columns that are wanted.

    Raises:
        UnknownName: for a column that there is not.
    """
    reference = reference_of(found)
    families = found[0].families if found else []
    columns: dict[str, Callable[[Case], str]] = {
        "defense": lambda c: c.first.label + (" (told)" if c.first.defense["told"] else ""),
        "seeds": lambda c: str(len(c.records)),
        **{
            family: lambda c, f=family: _bits(exposed(c, "student", f))  # type: ignore[misc]
            for family in families
        },
        "teacher": lambda c: _bits(exposed(c, c.teacher)),
        "control": lambda c: _bits(exposed(c, "control")),
        "worst leakage": lambda c: _percent(
            max((leaked(c, "student", f) for f in families), key=lambda i: i.value)
        ),
        "rank 1": lambda c: str(first_ranked(c, "student")),
        "extracted": lambda c: str(extracted(c, "student", "canaries")),
        "membership AUC": lambda c: _area(c),
        "perplexity": lambda c: _plain(perplexity(c, "student")),
        "exposure below": lambda c: _percent(fallen(c, reference) if reference else None),
        "perplexity above": lambda c: _percent(worse(c, reference) if reference else None),
    }
    for attack, name in (("extraction", "extracted"), ("membership", "membership AUC")):
        if not all(case.first.typed(attack) for case in found):
            del columns[name]
    for name in only:
        if name not in columns:
            raise UnknownName("column", name, columns)
    wanted = list(only) or list(columns)
    return wanted, [[columns[name](case) for name in wanted] for case in found]


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
        "what was planted."
    )
