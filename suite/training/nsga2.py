"""Evolutionary search, for spaces too large to enumerate: NSGA-II by pymoo (extra ``search``)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np

from robustbench_kd.core.errors import BadSetting
from robustbench_kd.core.seed import Seed
from robustbench_kd.models.subnet_space import Cost, Form, Space


class Scored(Protocol):
    """A form's two objectives, both to be large."""

    @property
    def clean(self) -> float: ...
    @property
    def robust(self) -> float: ...


M = TypeVar("M", bound=Scored)


def evolve(
    space: Space,
    predict: Callable[[Sequence[Form]], list[M]],
    allow: Callable[[Cost], bool],
    seed: Seed,
    *,
    population: int = 100,
    generations: int = 100,
) -> list[M]:
    """Predicted merits of the last population (Deb et al. 2002, two objectives, one constraint).

    Raises:
        BadSetting: where pymoo is not installed, or nothing within the limits was found.
    """
    try:
        from pymoo.algorithms.moo.nsga2 import NSGA2
        from pymoo.core.problem import Problem
        from pymoo.operators.crossover.ux import UX
        from pymoo.operators.mutation.pm import PM
        from pymoo.operators.repair.rounding import RoundingRepair
        from pymoo.operators.sampling.rnd import IntegerRandomSampling
        from pymoo.optimize import minimize
    except ImportError as why:
        raise BadSetting(
            f"{len(space):,} forms are too many to try one by one; for an evolutionary search: "
            "pip install 'robustbench-kd[search]'"
        ) from why
    options = space.choices

    class Family(Problem):  # type: ignore[misc]
        def __init__(self) -> None:
            top = np.array(options) - 1
            super().__init__(n_var=len(options), n_obj=2, n_ieq_constr=1, xl=0, xu=top, vtype=int)

        def _evaluate(self, x: np.ndarray, out: dict[str, Any], *args: Any, **kwargs: Any) -> None:
            forms = [space.chosen([int(v) for v in row]) for row in x]
            merits = predict(forms)
            out["F"] = np.array([(-m.clean, -m.robust) for m in merits])
            out["G"] = np.array([[0.0 if allow(space.cost(form)) else 1.0] for form in forms])

    found = minimize(
        Family(),
        NSGA2(
            pop_size=population,
            sampling=IntegerRandomSampling(),
            crossover=UX(repair=RoundingRepair()),
            mutation=PM(repair=RoundingRepair()),
        ),
        ("n_gen", generations),
        seed=seed.number() % 2**31,
        verbose=False,
    )
    rows = found.pop.get("X")
    forms = list(dict.fromkeys(space.chosen([int(v) for v in row]) for row in rows))
    within = [form for form in forms if allow(space.cost(form))]
    if not within:
        raise BadSetting("the search found no student within these limits; widen them")
    return predict(within)
