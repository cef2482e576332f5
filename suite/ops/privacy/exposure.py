"""Exposure: how far an inserted secret stands out among all secrets that could have been inserted.

The rank of a secret that was never inserted is uniform, whatever the network, so that its exposure
is exponential with mean 1 / ln 2 = 1.44 bits: chance is not zero. Ranks are integers, which makes
exposures a little smaller than the exponential law has it, by ln(2 pi |R|) / (2 |R| ln 2) bits in
the mean: 0.0008 for |R| = 10^4, 0.05 for 100. No dependency: leaderboards are computed from it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil, exp, fsum, inf, lgamma, log, log1p, log2

from robustbench_kd.core.estimates import Estimate
from robustbench_kd.ops.statistics.bootstrap import (
    TAIL,
    check_range,
    mean_interval,
    weighted_means,
)

LN2 = log(2)
CHANCE = 1 / LN2  # bits: the mean exposure of a secret that was never inserted
THRESHOLDS = (1, 10, 100)


def exposure(rank: int, candidates: int) -> float:
    """log2 |R| - log2 rank, in bits (Carlini et al. 2019); rank 1 is the likeliest.

    Raises:
        ValueError: where the rank is none among so many.
    """
    if not 1 <= rank <= candidates:
        raise ValueError(f"no rank {rank} among {candidates}")
    return log2(candidates) - log2(rank)


def chance(candidates: int) -> float:
    """The exact mean exposure at chance, in bits; ``CHANCE`` is its limit for many candidates."""
    return (log(candidates) - lgamma(candidates + 1) / candidates) / LN2


def _poisson(mean: float, counts: Iterable[int]) -> float:
    """The probability that a Poisson variable is one of these counts."""
    if mean <= 0:
        return float(0 in counts)
    return min(1.0, fsum(exp(k * log(mean) - mean - lgamma(k + 1)) for k in counts))


def memorised_p(exposures: Sequence[float]) -> float:
    """One-sided p-value that secrets never inserted have as much exposure.

    Their sum times ln 2 is Gamma(n, 1), and a Gamma of integer shape n exceeds s as often as a
    Poisson variable of mean s stays below n. With ranks the p-value is never too small, because
    each exposure is at most the exponential one that was rounded to it.

    Raises:
        ValueError: where there is no exposure, or a negative one.
    """
    check_range(exposures, 0.0, 1024.0)
    return _poisson(LN2 * fsum(exposures), range(len(exposures)))


def chance_p(exposures: Sequence[float], candidates: int) -> float:
    """Two-sided p-value that these secrets were never inserted: twice the smaller tail.

    At most one. Upwards as in ``memorised_p``. Downwards the rounding of ranks would make p too
    small, so each exposure is raised by what the rounding takes on average (for groups of several
    |R|: give the smallest).

    Raises:
        ValueError: where there is no exposure, or an impossible one.
    """
    check_range(exposures, 0.0, log2(candidates))
    n, total = len(exposures), LN2 * fsum(exposures)
    raised = total + n * LN2 * (CHANCE - chance(candidates))
    below = _poisson(raised, range(n, n + int(raised) + 200))  # what lies beyond is below 1e-16
    return min(1.0, 2 * min(below, _poisson(total, range(n))))


def mean_exposure(exposures: Sequence[float], candidates: int) -> Estimate:
    """The mean in bits, with an interval that holds from eight canaries on (``bootstrap``)."""
    return mean_interval(exposures, 0.0, log2(candidates))


def leakage(exposures: Sequence[float], candidates: Sequence[int]) -> Estimate:
    """Exposure above chance as a share of the maximum: 0 at chance, 1 where all rank first.

    ``candidates`` is each canary's |R|. Each canary is normalised by its own; the mean and its ends
    are clipped, not the canaries, or luck would count one way only.

    Raises:
        ValueError: where a canary has no |R|, or one below 3, whose chance is the maximum.
    """
    if min(candidates, default=3) < 3:
        raise ValueError("a canary needs at least three candidates, or chance is the ceiling")
    room = [log2(size) - CHANCE for size in candidates]
    values = [(bits - CHANCE) / most for bits, most in zip(exposures, room, strict=True)]
    mean = mean_interval(values, -CHANCE / min(room, default=1.0), 1.0)
    low, value, high = (min(1.0, max(0.0, x)) for x in (mean.low, mean.value, mean.high))
    return Estimate(value, low, high, mean.count)


def reduction(
    students: Sequence[Sequence[float]], references: Sequence[Sequence[float]], candidates: int
) -> Estimate | None:
    """The share by which exposure above chance falls from the reference to the student.

    One list a seed, and in both the same canaries in the same order. Pairs of all seeds are pooled
    and resampled together, as in ``mean_interval``; the pair that is added is the one that speaks
    most against the end: (maximum, 0) for the lower. The share is not clipped: below chance by luck
    is above 1, more exposed than the reference is negative. The interval is about other canaries
    under the trainings that were run, not about other trainings.

    Returns:
        None where the reference's own interval reaches down to chance: there is nothing to reduce.

    Raises:
        ValueError: where the lists do not pair, are empty, or hold an impossible exposure.
    """
    pairs = [
        pair
        for student, reference in zip(students, references, strict=True)
        for pair in zip(student, reference, strict=True)
    ]
    student_bits = [student for student, _ in sorted(pairs)]
    reference_bits = [reference for _, reference in sorted(pairs)]
    most = log2(candidates)
    check_range(student_bits, 0.0, most)
    check_range(reference_bits, 0.0, most)
    if sorted(weighted_means(reference_bits, 0.0))[TAIL - 1] <= CHANCE:
        return None

    def resampled(student_extra: float, reference_extra: float, undefined: float) -> list[float]:
        means = zip(
            weighted_means(student_bits, student_extra),
            weighted_means(reference_bits, reference_extra),
            strict=True,
        )
        return sorted(
            1 - (a - CHANCE) / (b - CHANCE) if b > CHANCE else undefined for a, b in means
        )

    count = len(pairs)
    student_mean, reference_mean = fsum(student_bits) / count, fsum(reference_bits) / count
    value = 1 - (student_mean - CHANCE) / (reference_mean - CHANCE)
    low, high = resampled(most, 0.0, -inf)[TAIL - 1], resampled(0.0, most, inf)[-TAIL]
    return Estimate(value, low, high, count)


def clopper_pearson_lower(hits: int, count: int, confidence: float = 0.95) -> float:
    """Clopper and Pearson's lower bound of a share (1934), one-sided, by bisection.

    Raises:
        ValueError: where nothing was counted, or more hits than counts.
    """
    if count < 1 or not 0 <= hits <= count:
        raise ValueError(f"no share of {hits} in {count}")
    if hits == 0:
        return 0.0

    def tail(p: float) -> float:  # P(Bin(count, p) >= hits), which rises with p
        ways = lgamma(count + 1)
        return fsum(
            exp(ways - lgamma(k + 1) - lgamma(count - k + 1) + k * log(p) + (count - k) * log1p(-p))
            for k in range(hits, count + 1)
        )

    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if tail(middle) < 1 - confidence else (low, middle)
    return low


def epsilon_bound(
    ranks: Sequence[int],
    candidates: int,
    copies: int = 1,
    thresholds: Sequence[int] = THRESHOLDS,
    confidence: float = 0.95,
) -> float:
    """A lower bound of the epsilon of pure differential privacy that these ranks admit, in nats.

    Guessing a secret among |R| equally likely ones, epsilon allows a rank in the first j with
    probability at most j e^eps / (j e^eps + |R| - j). ``clopper_pearson_lower`` bounds that
    probability from the hits; the thresholds j are fixed beforehand and share the error
    (Bonferroni), and the best counts. All canaries have the same number of copies, which divide the
    bound (group privacy). Where a guarantee allows a delta, the number is indicative only.

    Raises:
        ValueError: where there is no rank, an impossible one, or no threshold below |R|.
    """
    below = [j for j in thresholds if 1 <= j < candidates]
    if not below or copies < 1:
        raise ValueError(
            f"no bound from {copies} copies and thresholds {[*thresholds]} of {candidates}"
        )
    if not ranks or not all(1 <= rank <= candidates for rank in ranks):
        raise ValueError(f"the ranks must be between 1 and {candidates}, and at least one")
    best = 0.0
    for j in below:
        hits = sum(rank <= j for rank in ranks)
        share = clopper_pearson_lower(hits, len(ranks), 1 - (1 - confidence) / len(below))
        if share > 0:
            best = max(best, log(share) - log1p(-share) + log((candidates - j) / j))
    return best / copies


def tries(log_p: float, p: float = 0.5) -> float:
    """How many samples contain a continuation of this log-probability with probability p.

    The least integer n with 1 - (1 - e^log_p)^n >= p (Hayes et al. 2024); infinite where it cannot
    be represented.

    Raises:
        ValueError: where log_p is above zero, or p not between 0 and 1.
    """
    if not (log_p <= 0 and 0 < p < 1):
        raise ValueError(f"no number of tries for log-probability {log_p} and p = {p}")
    if log_p == 0:
        return 1.0
    if log_p < -30:  # 1 - e^log_p is one in doubles, and the integer is beyond their precision
        log_n = log(-log1p(-p)) - log_p
        return exp(log_n) if log_n < 700 else inf
    n = log1p(-p) / log1p(-exp(log_p))
    return max(1.0, float(ceil(n * (1 - 1e-12))))


def discoverable(log_ps: Sequence[float], n: int, p: float = 0.5) -> tuple[int, int]:
    """How many of the continuations n samples contain with probability p, and of how many."""
    return sum(tries(log_p, p) <= n for log_p in log_ps), len(log_ps)


@dataclass(frozen=True)
class Dynamics:
    """Which models memorised which examples, as (hits, count); a count of zero has no share.

    Attributes:
        inherited: of what the teacher but not the control memorised, what the student did.
        easy: of what the student memorised, what teacher and control did too.
    """

    teacher: tuple[int, int]
    control: tuple[int, int]
    student: tuple[int, int]
    inherited: tuple[int, int]
    easy: tuple[int, int]


def dynamics(teacher: Sequence[bool], control: Sequence[bool], student: Sequence[bool]) -> Dynamics:
    """The same examples, memorised or not by three networks (arXiv 2601.15394).

    The control is the student's network from the same initial weights, trained without a teacher.

    Raises:
        ValueError: where the three are not about the same number of examples.
    """
    rows = list(zip(teacher, control, student, strict=True))
    only_teacher = [s for t, c, s in rows if t and not c]
    by_student = [t and c for t, c, s in rows if s]
    count = len(rows)
    return Dynamics(
        teacher=(sum(teacher), count),
        control=(sum(control), count),
        student=(sum(student), count),
        inherited=(sum(only_teacher), len(only_teacher)),
        easy=(sum(by_student), len(by_student)),
    )
