"""Tables of pairs of rows, compared sample by sample by the metric that ranks them."""

from __future__ import annotations

from collections.abc import Sequence
from math import fsum

from robustbench_kd.core.estimates import Estimate
from robustbench_kd.metrics._base import Metric
from robustbench_kd.ops.statistics.paired_means import mean_loss_p, paired_interval
from robustbench_kd.ops.statistics.paired_tests import mcnemar_two_sided, tango
from robustbench_kd.reports.document import Cell, Table, number_cell, share_cell
from robustbench_kd.reports.leaderboard import RankingRow
from robustbench_kd.reports.places import sampled_seeds, samples_of_seeds
from robustbench_kd.results.record import Bits, Column, Numbers

Cells = tuple[Cell, ...]
OUTCOMES = ("both", "only the first", "only the second", "neither")
HEADS = (*OUTCOMES, "difference", "p", "samples")
SMALLEST_P = 1e-15


def paired_cells(metric: Metric, first: RankingRow, second: RankingRow) -> Cells:
    """The fields of ``HEADS`` by a metric; empty where the rows share no samples."""
    samples = paired_samples(metric, first, second)
    if samples is None:
        return ()
    one, other = samples
    if isinstance(one, Bits) and isinstance(other, Bits):
        return bits_cells(one, other)
    assert isinstance(one, tuple)  # for the type checker: both are of one kind
    assert isinstance(other, tuple)
    return numbers_cells(metric, one, other)


def paired_samples(
    metric: Metric, first: RankingRow, second: RankingRow
) -> tuple[Column, Column] | None:
    """The samples that both rows have, over the seeds that both have; None where there are none."""
    seeds = tuple(seed for seed in sampled_seeds(first) if seed in sampled_seeds(second))
    if not seeds and (sampled_seeds(first) or sampled_seeds(second)):
        return None
    if not all(metric.available(record) for row in (first, second) for record in row.group.records):
        return None
    one, other = (samples_of_seeds(metric, row, seeds) for row in (first, second))
    if one is None or other is None or _kind(one) != _kind(other):
        return None
    return one, other


def _kind(column: Column) -> tuple[bool, int]:
    return (True, column.count) if isinstance(column, Bits) else (False, len(column))


def bits_cells(first: Bits, second: Bits) -> Cells:
    """The fields of ``HEADS`` for two columns of bits."""
    count = first.count
    lost = (first.number & ~second.number).bit_count()
    won = (second.number & ~first.number).bit_count()
    both = (first.number & second.number).bit_count()
    low, high = tango(lost, won, count)
    difference = 100 * (lost - won) / count
    p = mcnemar_two_sided(lost, won)
    return (
        *(
            share_cell(Estimate.share(n, count))
            for n in (both, lost, won, count - both - lost - won)
        ),
        number_cell(difference, f"{difference:z.1f} [{100 * low:z.1f}, {100 * high:z.1f}]"),
        p_cell(p),
        number_cell(count),
    )


def numbers_cells(metric: Metric, first: Numbers, second: Numbers) -> Cells:
    """The fields of ``HEADS`` for two columns of numbers; those of outcomes are empty."""
    scale = 100 if metric.unit == "percent" else 1
    gaps = [scale * (one - other) for one, other in zip(first, second, strict=True)]
    mean = fsum(gaps) / len(gaps)
    ends = (mean, *paired_interval(gaps))
    value, low, high = (f"{end:z.{metric.digits}f}" for end in ends)
    p = min(1.0, 2 * min(mean_loss_p(tuple(sign * gap for gap in gaps)) for sign in (-1, 1)))
    return (
        *(Cell("") for _ in OUTCOMES),
        number_cell(mean, f"{value} [{low}, {high}]"),
        p_cell(p),
        number_cell(len(gaps)),
    )


def p_cell(p: float) -> Cell:
    """A p-value; those that floats cannot tell from zero are bounded."""
    return number_cell(p, f"{p:.2g}" if p >= SMALLEST_P else f"< {SMALLEST_P:g}")


def outcome_table(caption: str, names: tuple[str, ...], rows: Sequence[Cells]) -> Table:
    """A table of pairs; without the outcomes where samples are numbers.

    Args:
        names: heads of the columns before those of ``HEADS``.
    """
    heads = (*names, *HEADS)
    kept = [
        place
        for place, head in enumerate(heads)
        if head not in OUTCOMES or any(row[place].text for row in rows)
    ]
    return Table(
        caption,
        tuple(heads[place] for place in kept),
        tuple(tuple(row[place] for place in kept) for row in rows),
        row_head=len(names) - 1,
    )
