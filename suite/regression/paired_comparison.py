"""The verdict on one endpoint, by its bits or by its numbers. Needs no torch."""

from __future__ import annotations

from math import fsum

from robustbench_kd.ops.statistics.paired_means import (
    detectable_mean,
    enough_samples,
    mean_loss_p,
    paired_interval,
)
from robustbench_kd.ops.statistics.paired_tests import ONE_SIDED, tango
from robustbench_kd.ops.statistics.power import detectable, examples_needed
from robustbench_kd.regression.decision import Comparison, Rules, Verdict


def compare_bits(
    lost: int,
    won: int,
    count: int,
    margin: float,
    rules: Rules,
    *,
    p: float | None = None,
    gain: float | None = None,
    tests: int | None = 1,
) -> Comparison:
    """The verdict on bits, by McNemar's test and Tango's interval.

    Args:
        lost: samples that went well and no longer do.
        won: samples that did not and now do.
        count: all samples.
        margin: the tolerated drop, as a share.
        rules: level and test.
        p: the p-value of the loss where it was adjusted for other tests.
        gain: that of the gain.
        tests: how many there were; the smallest detectable drop is that of the hardest of them.
            None where it is not needed, since it takes longer than all else.
    """
    one_sided = ONE_SIDED[rules.test]
    p = one_sided(lost, won) if p is None else p
    gain = one_sided(won, lost) if gain is None else gain
    least, most = tango(lost, won, count, 1 - 2 * rules.alpha)
    smallest, enough = None, None
    if tests is not None:
        churn, alpha = min(lost, won) / count, rules.alpha / tests
        smallest = detectable(count, churn, alpha, rules.test)
        shown = smallest is not None and smallest <= margin
        if not (shown or margin == 0 or 2 * churn + margin > 1):
            enough = examples_needed(margin, churn, alpha)
    return Comparison(
        lost,
        won,
        count,
        (lost - won) / count,
        *tango(lost, won, count),
        least,
        most,
        p,
        gain,
        smallest,
        enough,
        margin,
        _verdict(p, gain, least, most, margin, rules),
    )


def compare_numbers(
    losses: tuple[float, ...],
    margin: float,
    rules: Rules,
    *,
    bound: float | None = None,
    p: float | None = None,
    gain: float | None = None,
    tests: int | None = 1,
) -> Comparison:
    """The verdict on numbers, by the sign-flip test and weighted means (``ops.statistics``).

    Args:
        losses: by how much each sample is worse.
        margin: the tolerated mean loss, in the same unit.
        rules: level.
        bound: the largest possible loss of a sample, where there is one.
        p: the p-value of the loss where it was adjusted for other tests.
        gain: that of the gain.
        tests: how many there were; None where the smallest detectable loss is not needed.
    """
    p = mean_loss_p(losses) if p is None else p
    gain = mean_loss_p(tuple(-loss for loss in losses)) if gain is None else gain
    least, most = paired_interval(losses, 1 - 2 * rules.alpha, bound)
    count = len(losses)
    smallest = None if tests is None else detectable_mean(losses, rules.alpha / tests)
    enough = None
    if smallest is not None and 0 < margin < smallest:
        enough = enough_samples(count, smallest, margin)
    return Comparison(
        sum(loss > 0 for loss in losses),
        sum(loss < 0 for loss in losses),
        count,
        fsum(losses) / count,
        *paired_interval(losses, bound=bound),
        least,
        most,
        p,
        gain,
        smallest,
        enough,
        margin,
        _verdict(p, gain, least, most, margin, rules),
    )


def _verdict(
    p: float, gain: float, least: float, most: float, margin: float, rules: Rules
) -> Verdict:
    verdict: Verdict = "ok" if most <= margin else "inconclusive"
    if gain <= rules.alpha:
        verdict = "improved"
    if p <= rules.alpha:
        verdict = "regressed-severe" if least > margin else "regressed"
        if most <= margin:
            verdict = "changed"
        elif verdict == "regressed" and rules.strict:
            verdict = "inconclusive"
    return verdict
