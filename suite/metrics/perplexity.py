"""Perplexity on the test text: what a language model is still worth."""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, fsum
from typing import ClassVar

from robustbench_kd.core.estimates import Estimate
from robustbench_kd.metrics._base import Unit
from robustbench_kd.metrics._intervals import normal_mean
from robustbench_kd.metrics._test_nll import TextMetric, nats_per_token
from robustbench_kd.results.groups import SeedGroup
from robustbench_kd.results.record import Column


@dataclass(frozen=True)
class Perplexity(TextMetric):
    """exp of the mean nats a token, over all seeds.

    One point is tolerated, which is 2 % of what small models reach on the Jargon File.
    """

    name: ClassVar[str] = "perplexity"
    unit: ClassVar[Unit] = "perplexity"
    margin: ClassVar[float] = 1.0

    def value(self, group: SeedGroup, role: str) -> Estimate | None:
        nats = normal_mean(nats_per_token(group.records, role))
        if nats is None:
            return None
        return Estimate(exp(nats.value), exp(nats.low), exp(nats.high), nats.count)

    def sample_values(self, group: SeedGroup, role: str) -> Column:
        """Negative log-likelihood a token of each row, on the scale of perplexity.

        The mean is the perplexity, and a row lies as far from it, as a share of it, as its nats a
        token lie from theirs; so that paired differences are in the unit of the margin.
        """
        nats = nats_per_token(group.records, role)
        mean = fsum(nats) / len(nats)
        return tuple(exp(mean) * (1 + row - mean) for row in nats)
