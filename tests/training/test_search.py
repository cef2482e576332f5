from __future__ import annotations

import math
import sys
from dataclasses import replace

import pytest
import torch

from robustbench_kd.core.config import Budget, Schedule
from robustbench_kd.core.errors import BadSetting, MissingData
from robustbench_kd.core.protocols import Brief
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.types import Examples
from robustbench_kd.models.elastic_resnet import ElasticResNet
from robustbench_kd.models.subnet_space import Form, Space
from robustbench_kd.training import subnet_search
from robustbench_kd.training.nsga2 import evolve
from robustbench_kd.training.subnet_search import (
    Limits,
    Merit,
    affordable,
    agreement,
    called,
    candidates,
    drawn_within,
    front,
    predict,
    surveyed,
)

SPACE = Space((8, 16), size=8, stem=1)


def truth(form: Form) -> Merit:
    """A world in which merit is known: clean accuracy grows with cost, robust falls with depth."""
    size = math.log(SPACE.cost(form).macs)
    return Merit(form, size / 20, size / 30 - sum(form.depths) / 100)


def test_the_predictor_orders_students_it_never_saw() -> None:
    forms = list(SPACE.forms())
    order = torch.randperm(len(forms), generator=Seed(0).generator()).tolist()
    known = [truth(forms[n]) for n in order[:60]]
    held_out = [forms[n] for n in order[60:]]
    taus = agreement([truth(form) for form in held_out], predict(SPACE, known, held_out))
    assert min(taus) > 0.9


def test_the_front_holds_who_is_beaten_by_nobody() -> None:
    form = SPACE.smallest
    shares = [(0.9, 0.5), (0.8, 0.6), (0.85, 0.4), (0.7, 0.6), (0.6, 0.7)]
    found = front([Merit(form, clean, robust) for clean, robust in shares])
    assert [(m.clean, m.robust) for m in found] == [(0.9, 0.5), (0.8, 0.6), (0.6, 0.7)]


def test_candidates_are_all_forms_within_the_limits() -> None:
    known = [truth(form) for form in SPACE.forms()]
    limit = SPACE.cost(SPACE.middle).macs
    found = {merit.form for merit in candidates(SPACE, known, Limits(macs=limit), Seed())}
    assert found == {form for form in SPACE.forms() if SPACE.cost(form).macs <= limit}


def test_a_limit_that_no_student_meets_says_what_the_smallest_costs() -> None:
    least = SPACE.cost(SPACE.smallest)
    with pytest.raises(BadSetting, match=f"macs={least.macs:,} and params={least.params:,}"):
        affordable(SPACE, Limits(macs=1))
    affordable(SPACE, Limits(macs=least.macs, params=least.params))


def images(count: int) -> Examples:
    x = torch.rand(count, 1, 8, 8, generator=Seed(1).generator())
    return Examples(torch.arange(count), x, (x.mean((1, 2, 3)) * 10).long())


def brief(family: ElasticResNet, validation: Examples | None) -> Brief:
    return Brief(
        images(64), {}, family, Budget("linf", 0.05), Schedule(1), Seed(), validation=validation
    )


def test_the_family_carries_what_the_survey_measured() -> None:
    family = ElasticResNet(SPACE, (0.5,), (0.3,), surveyed=6)
    with pytest.raises(BadSetting, match="never surveyed"):
        subnet_search.recall(family, Seed())
    subnet_search.survey(family, brief(family, images(40)))
    forms = subnet_search.surveyed(SPACE, Seed(), 6)
    assert {SPACE.smallest, SPACE.largest} < set(forms)
    again = subnet_search.measure(family, forms, brief(family, images(40)))
    for kept, fresh in zip(subnet_search.recall(family, Seed()), again, strict=True):
        assert kept.form == fresh.form
        assert (kept.clean, kept.robust) == pytest.approx((fresh.clean, fresh.robust), abs=1e-6)


def test_measuring_without_validation_images_is_refused() -> None:
    family = ElasticResNet(SPACE, (0.5,), (0.3,))
    with pytest.raises(MissingData, match="validation images"):
        subnet_search.measure(family, [SPACE.smallest], brief(family, None))


def test_evolution_keeps_to_the_limits_and_finds_good_students() -> None:
    pytest.importorskip("pymoo", reason="the extra `search` is not installed")
    limit = SPACE.cost(SPACE.middle).macs
    found = evolve(
        SPACE,
        lambda forms: [truth(form) for form in forms],
        lambda cost: cost.macs <= limit,
        Seed(),
        population=20,
        generations=20,
    )
    best = max(truth(f).clean for f in SPACE.forms() if SPACE.cost(f).macs <= limit)
    assert all(SPACE.cost(merit.form).macs <= limit for merit in found)
    assert max(merit.clean for merit in found) > 0.98 * best


def test_without_pymoo_a_huge_space_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pymoo.algorithms.moo.nsga2", None)
    monkeypatch.setattr(subnet_search, "MANY", 10)
    with pytest.raises(BadSetting, match=r"robustbench-kd\[search\]"):
        candidates(replace(SPACE), [truth(SPACE.smallest)] * 3, Limits(), Seed())


def test_a_form_drawn_within_limits_meets_them_and_is_drawn_by_the_seed() -> None:
    limits = Limits(macs=SPACE.cost(SPACE.middle).macs)
    forms = drawn_within(SPACE, limits, Seed(4), 12)
    assert len(set(forms)) == 12
    assert all(limits.allow(SPACE.cost(form)) for form in forms)
    assert called(SPACE, "drawn-3", Seed(4), limits) == forms[3]
    assert called(SPACE, "drawn-3", Seed(4)) != forms[3], "those of the survey know no limit"
    assert drawn_within(SPACE, limits, Seed(5), 12) != forms


def test_a_form_that_was_not_drawn_is_refused_by_name() -> None:
    last = len(surveyed(SPACE, Seed())) - 3
    with pytest.raises(BadSetting, match=f"the last one is drawn-{last}"):
        called(SPACE, f"drawn-{last + 1}", Seed())
    with pytest.raises(BadSetting, match="numbered, as drawn-0"):
        called(SPACE, "drawn-x", Seed())
