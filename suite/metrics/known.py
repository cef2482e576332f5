"""How well networks know what was planted, and how well they read, over all seeds of a case."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import exp, fsum, log, log2, sqrt

from robustbench_kd.metrics._groups import ALL, Case
from robustbench_kd.ops.privacy.exposure import epsilon_bound, leakage, mean_exposure, reduction
from robustbench_kd.ops.statistics.bootstrap import Interval
from robustbench_kd.results.record import Share


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
