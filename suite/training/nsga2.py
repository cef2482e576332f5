"""Evolutionary search, for spaces too large to enumerate: NSGA-II by pymoo (extra ``search``)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from robustbench_kd.core.errors import BadSetting
from robustbench_kd.core.seed import Seed
from robustbench_kd.models.subnet_space import Cost, SubnetConfig, SubnetSpace
from robustbench_kd.training.subnet_predictor import SubnetAccuracy


def evolve(
    space: SubnetSpace,
    predict: Callable[[Sequence[SubnetConfig]], list[SubnetAccuracy]],
    allow: Callable[[Cost], bool],
    seed: Seed,
    *,
    population: int = 100,
    generations: int = 100,
) -> list[SubnetAccuracy]:
    """Predictions for the last population (Deb et al. 2002: two objectives, one constraint).

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
            f"{len(space):,} subnets are too many to try one by one; for an evolutionary search: "
            "pip install 'robustbench-kd[search]'"
        ) from why
    options = space.choices

    def configs_of(rows: np.ndarray) -> list[SubnetConfig]:
        return [space.from_choices([int(choice) for choice in row]) for row in rows]

    class SubnetProblem(Problem):  # type: ignore[misc]
        def __init__(self) -> None:
            top = np.array(options) - 1
            super().__init__(n_var=len(options), n_obj=2, n_ieq_constr=1, xl=0, xu=top, vtype=int)

        def _evaluate(self, x: np.ndarray, out: dict[str, Any], *args: Any, **kwargs: Any) -> None:
            configs = configs_of(x)
            out["F"] = np.array([(-subnet.clean, -subnet.robust) for subnet in predict(configs)])
            out["G"] = np.array([[0.0 if allow(space.cost(c)) else 1.0] for c in configs])

    result = minimize(
        SubnetProblem(),
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
    unique = dict.fromkeys(configs_of(result.pop.get("X")))
    within = [config for config in unique if allow(space.cost(config))]
    if not within:
        raise BadSetting("the search found no student within these limits; widen them")
    return predict(within)
