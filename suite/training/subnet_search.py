"""Choosing a subnet of a trained supernet within limits on cost (Mousavi et al. 2025, ProARD).

A survey measures some subnets, all others are predicted, and the most robust few are measured
before one is chosen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from robustbench_kd.core.errors import BadSetting
from robustbench_kd.core.protocols import TrainingContext
from robustbench_kd.core.seed import Seed
from robustbench_kd.models.elastic_resnet import ElasticResNet, extract_subnet
from robustbench_kd.models.subnet_space import Cost, SubnetConfig, SubnetSpace
from robustbench_kd.training.subnet_predictor import SubnetAccuracy, measure, predict

SURVEY_SIZE = 60  # subnets that are measured before the rest are predicted
MEASURED_CANDIDATES = 5  # of the best predicted subnets, measured before one is chosen
MAX_DRAWS = 10_000  # after which no more subnets are sought within limits
MAX_ENUMERATED = 100_000  # subnets; above this the search is evolutionary


@dataclass(frozen=True)
class Limits:
    """What a subnet may cost, in multiply-accumulates per image and in parameters."""

    macs: int | None = None
    params: int | None = None

    def allow(self, cost: Cost) -> bool:
        """Whether a cost is within the limits."""
        fits = self.macs is None or cost.macs <= self.macs
        return fits and (self.params is None or cost.params <= self.params)

    def __str__(self) -> str:
        parts = [f"{n}={v:,}" for n, v in (("macs", self.macs), ("params", self.params)) if v]
        return " and ".join(parts) or "no limit"


def check_limits(space: SubnetSpace, limits: Limits) -> None:
    """Refuses limits that no subnet meets, before anything is spent.

    Raises:
        BadSetting: with the cost of the smallest subnet.
    """
    least = space.cost(space.smallest)
    if not limits.allow(least):
        raise BadSetting(
            f"no student of this supernet meets {limits}: the smallest one costs "
            f"macs={least.macs:,} and params={least.params:,}"
        )


def survey_configs(space: SubnetSpace, seed: Seed, count: int = SURVEY_SIZE) -> list[SubnetConfig]:
    """The subnets to measure: the smallest, the largest, and random ones, each once."""
    generator = (seed / "survey").generator()
    configs = dict.fromkeys([space.smallest, space.largest])
    while len(configs) < min(count, len(space)):
        configs[space.sample(generator)] = None
    return list(configs)


def run_survey(supernet: ElasticResNet, context: TrainingContext) -> None:
    """Measures the subnets of the survey and stores the accuracies in the supernet's buffer."""
    configs = survey_configs(supernet.space, context.seed, len(supernet.survey))
    accuracies = [(subnet.clean, subnet.robust) for subnet in measure(supernet, configs, context)]
    supernet.survey.copy_(torch.tensor(accuracies))


def survey_results(supernet: ElasticResNet, seed: Seed) -> list[SubnetAccuracy]:
    """The survey that the supernet carries.

    Raises:
        BadSetting: where it carries none.
    """
    shares = supernet.survey.tolist()
    if any(share < 0 for row in shares for share in row):
        raise BadSetting("this supernet was never surveyed; train it again")
    configs = survey_configs(supernet.space, seed, len(shares))
    return [
        SubnetAccuracy(config, clean, robust)
        for config, (clean, robust) in zip(configs, shares, strict=True)
    ]


def pareto_front(subnets: Sequence[SubnetAccuracy]) -> list[SubnetAccuracy]:
    """The subnets that no other beats in both accuracies, the most accurate first."""
    front: list[SubnetAccuracy] = []
    for subnet in sorted(subnets, key=lambda subnet: (-subnet.clean, -subnet.robust)):
        if not front or subnet.robust > front[-1].robust:
            front.append(subnet)
    return front


def candidates(
    space: SubnetSpace, known: Sequence[SubnetAccuracy], limits: Limits, seed: Seed
) -> list[SubnetAccuracy]:
    """Predictions within the limits: for every subnet, or for those that evolution finds.

    Raises:
        BadSetting: for limits that no subnet meets, or where pymoo is needed and not installed.
    """
    check_limits(space, limits)
    if len(space) > MAX_ENUMERATED:
        from robustbench_kd.training.nsga2 import evolve

        return evolve(space, lambda configs: predict(space, known, configs), limits.allow, seed)
    within = [config for config in space.configs() if limits.allow(space.cost(config))]
    return predict(space, known, within)


def most_robust(subnets: Sequence[SubnetAccuracy]) -> list[SubnetAccuracy]:
    """The few best by robust accuracy, the best first."""
    return sorted(subnets, key=lambda subnet: -subnet.robust)[:MEASURED_CANDIDATES]


def named_config(
    space: SubnetSpace, name: str, seed: Seed, limits: Limits | None = None
) -> SubnetConfig:
    """The subnet of a name: ``largest``, ``middle``, ``smallest``, or ``drawn-N``.

    ``drawn-N`` is the Nth random subnet of the survey; with limits, the Nth one drawn within them.

    Raises:
        BadSetting: where the space has no subnet of that name.
    """
    if name in ("largest", "middle", "smallest"):
        return {"largest": space.largest, "middle": space.middle, "smallest": space.smallest}[name]
    number = name.removeprefix("drawn-")
    if not number.isdigit():
        raise BadSetting(f"there is no subnet {name!r}; drawn ones are numbered, as drawn-0")
    if limits is None:
        samples = survey_configs(space, seed)[2:]
    else:
        samples = draw_within_limits(space, limits, seed, int(number) + 1)
    if int(number) >= len(samples):
        raise BadSetting(
            f"there is no subnet {name!r} here; the last one is drawn-{len(samples) - 1}"
        )
    return samples[int(number)]


def draw_within_limits(
    space: SubnetSpace, limits: Limits, seed: Seed, count: int
) -> list[SubnetConfig]:
    """Random subnets within limits, each once; fewer where ``MAX_DRAWS`` draws give no more.

    Raises:
        BadSetting: for limits that no subnet meets.
    """
    check_limits(space, limits)
    generator = (seed / "within").generator()
    configs: dict[SubnetConfig, None] = {}
    for _ in range(MAX_DRAWS):
        config = space.sample(generator)
        if limits.allow(space.cost(config)):
            configs[config] = None
        if len(configs) == count:
            break
    return list(configs)


def choose_subnet(
    supernet: ElasticResNet,
    choice: str | Limits,
    context: TrainingContext,
    *,
    limits: Limits | None = None,
    recalibrated: bool = True,
) -> tuple[nn.Module, str]:
    """The subnet of a name, or the most robust one within limits, and its architecture.

    Args:
        limits: of a subnet that is drawn by its name.

    Raises:
        BadSetting: for limits that no subnet meets.
    """
    space = supernet.space
    if isinstance(choice, str):
        config = named_config(space, choice, context.seed, limits)
    else:
        check_limits(space, choice)
        survey = survey_results(supernet, context.seed)
        finalists = most_robust(candidates(space, survey, choice, context.seed))
        accuracies = measure(supernet, [subnet.config for subnet in finalists], context)
        config = max(accuracies, key=lambda subnet: subnet.robust).config
    return extract_subnet(supernet, config, context.data.inputs, recalibrated), config.name
