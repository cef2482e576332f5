"""Subnets of a supernet: their predicted accuracy, and the search within limits."""

from __future__ import annotations

import math
import sys

import pytest
import torch

from robustbench_kd.core.config import Budget, Schedule
from robustbench_kd.core.errors import BadSetting, MissingData
from robustbench_kd.core.protocols import TrainingContext
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.types import Examples
from robustbench_kd.models.elastic_resnet import ElasticResNet
from robustbench_kd.models.subnet_space import SubnetConfig, SubnetSpace
from robustbench_kd.training import subnet_search
from robustbench_kd.training.nsga2 import evolve
from robustbench_kd.training.subnet_predictor import (
    SubnetAccuracy,
    kendall_tau,
    measure,
    predict,
)
from robustbench_kd.training.subnet_search import (
    Limits,
    candidates,
    check_limits,
    choose_subnet,
    draw_within_limits,
    named_config,
    pareto_front,
    run_survey,
    survey_configs,
    survey_results,
)

SPACE = SubnetSpace((8, 16), size=8, stem=1)


def truth(config: SubnetConfig) -> SubnetAccuracy:
    """A world of known accuracies: clean grows with cost, robust falls with depth."""
    size = math.log(SPACE.cost(config).macs)
    return SubnetAccuracy(config, size / 20, size / 30 - sum(config.depths) / 100)


def images(count: int) -> Examples:
    x = torch.rand(count, 1, 8, 8, generator=Seed(1).generator())
    return Examples(torch.arange(count), x, (x.mean((1, 2, 3)) * 10).long())


def context(supernet: ElasticResNet, validation: Examples | None) -> TrainingContext:
    return TrainingContext(
        images(64), {}, supernet, Budget("linf", 0.05), Schedule(1), Seed(), validation=validation
    )


def test_the_predictor_orders_subnets_it_never_saw() -> None:
    configs = list(SPACE.configs())
    order = torch.randperm(len(configs), generator=Seed(0).generator()).tolist()
    known = [truth(configs[n]) for n in order[:60]]
    held_out = [configs[n] for n in order[60:]]
    taus = kendall_tau([truth(c) for c in held_out], predict(SPACE, known, held_out))
    assert min(taus) > 0.9


def test_the_front_holds_the_subnets_that_no_other_beats() -> None:
    shares = [(0.9, 0.5), (0.8, 0.6), (0.85, 0.4), (0.7, 0.6), (0.6, 0.7)]
    subnets = [SubnetAccuracy(SPACE.smallest, clean, robust) for clean, robust in shares]
    front = [(subnet.clean, subnet.robust) for subnet in pareto_front(subnets)]
    assert front == [(0.9, 0.5), (0.8, 0.6), (0.6, 0.7)]


def test_candidates_are_all_subnets_within_the_limits() -> None:
    known = [truth(config) for config in SPACE.configs()]
    limit = SPACE.cost(SPACE.middle).macs
    chosen = {subnet.config for subnet in candidates(SPACE, known, Limits(macs=limit), Seed())}
    assert chosen == {c for c in SPACE.configs() if SPACE.cost(c).macs <= limit}


def test_a_limit_that_no_subnet_meets_names_the_cost_of_the_smallest() -> None:
    least = SPACE.cost(SPACE.smallest)
    with pytest.raises(BadSetting, match=f"macs={least.macs:,} and params={least.params:,}"):
        check_limits(SPACE, Limits(macs=1))
    check_limits(SPACE, Limits(macs=least.macs, params=least.params))


def test_the_supernet_carries_what_the_survey_measured() -> None:
    supernet = ElasticResNet(SPACE, (0.5,), (0.3,), 6)
    with pytest.raises(BadSetting, match="never surveyed"):
        survey_results(supernet, Seed())
    run_survey(supernet, context(supernet, images(40)))
    configs = survey_configs(SPACE, Seed(), 6)
    assert {SPACE.smallest, SPACE.largest} < set(configs)
    again = measure(supernet, configs, context(supernet, images(40)))
    for stored, measured in zip(survey_results(supernet, Seed()), again, strict=True):
        assert stored.config == measured.config
        assert (stored.clean, stored.robust) == pytest.approx(
            (measured.clean, measured.robust), abs=1e-6
        )


def test_the_chosen_subnet_is_the_most_robust_of_the_measured_candidates() -> None:
    supernet = ElasticResNet(SPACE, (0.5,), (0.3,), 6)
    given, limits = context(supernet, images(40)), Limits(macs=SPACE.cost(SPACE.middle).macs)
    run_survey(supernet, given)
    net, name = choose_subnet(supernet, limits, given)
    predicted = candidates(SPACE, survey_results(supernet, Seed()), limits, Seed())
    best = sorted(predicted, key=lambda subnet: -subnet.robust)[:5]
    measured = measure(supernet, [subnet.config for subnet in best], given)
    assert name == max(measured, key=lambda subnet: subnet.robust).config.name
    assert sum(p.numel() for p in net.parameters()) <= SPACE.cost(SPACE.largest).params


def test_measuring_without_validation_images_is_refused() -> None:
    supernet = ElasticResNet(SPACE, (0.5,), (0.3,))
    with pytest.raises(MissingData, match="validation images"):
        measure(supernet, [SPACE.smallest], context(supernet, None))


def test_evolution_keeps_to_the_limits_and_finds_good_subnets() -> None:
    pytest.importorskip("pymoo", reason="the extra `search` is not installed")
    limit = SPACE.cost(SPACE.middle).macs
    evolved = evolve(
        SPACE,
        lambda configs: [truth(config) for config in configs],
        lambda cost: cost.macs <= limit,
        Seed(),
        population=20,
        generations=20,
    )
    best = max(truth(c).clean for c in SPACE.configs() if SPACE.cost(c).macs <= limit)
    assert all(SPACE.cost(subnet.config).macs <= limit for subnet in evolved)
    assert max(subnet.clean for subnet in evolved) > 0.98 * best


def test_without_pymoo_a_huge_space_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pymoo.algorithms.moo.nsga2", None)
    monkeypatch.setattr(subnet_search, "MAX_ENUMERATED", 10)
    with pytest.raises(BadSetting, match=r"robustbench-kd\[search\]"):
        candidates(SPACE, [truth(SPACE.smallest)] * 3, Limits(), Seed())


def test_subnets_drawn_within_limits_meet_them_and_depend_on_the_seed() -> None:
    limits = Limits(macs=SPACE.cost(SPACE.middle).macs)
    configs = draw_within_limits(SPACE, limits, Seed(4), 12)
    assert len(set(configs)) == 12
    assert all(limits.allow(SPACE.cost(config)) for config in configs)
    assert named_config(SPACE, "drawn-3", Seed(4), limits) == configs[3]
    assert named_config(SPACE, "drawn-3", Seed(4)) != configs[3], "the survey has no limits"
    assert draw_within_limits(SPACE, limits, Seed(5), 12) != configs


def test_a_subnet_that_was_not_drawn_is_refused_by_name() -> None:
    last = len(survey_configs(SPACE, Seed())) - 3
    with pytest.raises(BadSetting, match=f"the last one is drawn-{last}"):
        named_config(SPACE, f"drawn-{last + 1}", Seed())
    with pytest.raises(BadSetting, match="numbered, as drawn-0"):
        named_config(SPACE, "drawn-x", Seed())
