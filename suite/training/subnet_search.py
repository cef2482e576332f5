"""Which student of an elastic family to take: measure some, predict all, choose within limits.

Mousavi et al. 2025 (accuracy-robustness predictor and multi-objective search). Everything is
measured on validation images; the test split is never asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from robustbench_kd.core.config import Budget
from robustbench_kd.core.errors import BadSetting, MissingData
from robustbench_kd.core.protocols import Brief
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.types import Examples
from robustbench_kd.models.elastic_resnet import ElasticResNet, cut
from robustbench_kd.models.subnet_space import Cost, Form, Space
from robustbench_kd.ops.attacks.gradients import held_still
from robustbench_kd.ops.attacks.pgd import hunt
from robustbench_kd.ops.attacks.projections import uniform_start
from robustbench_kd.ops.attacks.targets import Goal

SURVEYED = 60  # students that are measured before the rest are predicted
JUDGES = 1000  # validation images that a student is measured on
FINALISTS = 5  # so many of the best predicted students are measured before one is chosen
DRAWS = 10_000  # after which no more forms are sought within limits
MANY = 100_000  # forms; above this the search is evolutionary


@dataclass(frozen=True)
class Limits:
    """What a student may cost, in multiply-accumulates an image and in parameters."""

    macs: int | None = None
    params: int | None = None

    def allow(self, cost: Cost) -> bool:
        fits = self.macs is None or cost.macs <= self.macs
        return fits and (self.params is None or cost.params <= self.params)

    def __str__(self) -> str:
        parts = [f"{n}={v:,}" for n, v in (("macs", self.macs), ("params", self.params)) if v]
        return " and ".join(parts) or "no limit"


@dataclass(frozen=True)
class Merit:
    """A student's shares answered right: on plain images, and after PGD-10."""

    form: Form
    clean: float
    robust: float


def affordable(space: Space, limits: Limits) -> None:
    """Refuses limits that no student meets, before anything is spent.

    Raises:
        BadSetting: with what the smallest student costs.
    """
    least = space.cost(space.smallest)
    if not limits.allow(least):
        raise BadSetting(
            f"no student of this family meets {limits}: the smallest one costs "
            f"macs={least.macs:,} and params={least.params:,}"
        )


def surveyed(space: Space, seed: Seed, count: int = SURVEYED) -> list[Form]:
    """The forms to measure: the smallest, the largest, and others drawn, each once."""
    noise = (seed / "survey").generator()
    forms = dict.fromkeys([space.smallest, space.largest])
    while len(forms) < min(count, len(space)):
        forms[space.draw(noise)] = None
    return list(forms)


def measure(
    family: ElasticResNet, forms: Sequence[Form], brief: Brief, *, recalibrated: bool = True
) -> list[Merit]:
    """Cuts each student, recalibrates it on training images, attacks it on validation images.

    Raises:
        MissingData: where there are no validation images.
    """
    if brief.validation is None or len(brief.validation) == 0:
        raise MissingData("students are measured on validation images, and there are none here")
    judges = brief.validation.take(torch.arange(min(JUDGES, len(brief.validation))))
    return [
        _merit(cut(family, form, brief.data.inputs, recalibrated), form, judges, brief.budget)
        for form in forms
    ]


def _merit(net: nn.Module, form: Form, judges: Examples, budget: Budget) -> Merit:
    x, y = judges.inputs, judges.targets
    start = uniform_start(x, budget, (Seed() / "merit").generator())
    with held_still(net):
        with torch.no_grad():
            right = net(x).argmax(1) == y
        won = hunt(net, x, Goal(y), budget, steps=10, stride=0.25, start=start)[1]
    n = len(judges)
    return Merit(form, int(right.sum()) / n, int((right & ~won).sum()) / n)


def predict(space: Space, known: Sequence[Merit], asked: Sequence[Form]) -> list[Merit]:
    """What forms would measure, by ridge regression on their choices and the logs of their cost.

    The regression is on log odds, so that no prediction leaves (0, 1).
    """
    from sklearn.linear_model import Ridge

    shares = np.clip([(merit.clean, merit.robust) for merit in known], 1e-3, 1 - 1e-3)
    model = Ridge(alpha=1.0)
    model.fit(_table(space, [merit.form for merit in known]), np.log(shares / (1 - shares)))
    said = 1 / (1 + np.exp(-model.predict(_table(space, asked))))
    return [Merit(f, float(c), float(r)) for f, (c, r) in zip(asked, said, strict=True)]


def _table(space: Space, forms: Sequence[Form]) -> np.ndarray:
    costs = [space.cost(form) for form in forms]
    logs = np.log([(cost.macs, cost.params) for cost in costs])
    return np.hstack([np.array([space.features(form) for form in forms]), logs])


def front(merits: Sequence[Merit]) -> list[Merit]:
    """The students that no other beats in both shares, the most accurate first."""
    best: list[Merit] = []
    for merit in sorted(merits, key=lambda m: (-m.clean, -m.robust)):
        if not best or merit.robust > best[-1].robust:
            best.append(merit)
    return best


def candidates(space: Space, known: Sequence[Merit], limits: Limits, seed: Seed) -> list[Merit]:
    """Predicted merits within the limits: of every form, or of those that evolution finds."""
    affordable(space, limits)
    if len(space) > MANY:
        from robustbench_kd.training.nsga2 import evolve

        return evolve(space, lambda forms: predict(space, known, forms), limits.allow, seed)
    within = [form for form in space.forms() if limits.allow(space.cost(form))]
    return predict(space, known, within)


def finalists(merits: Sequence[Merit]) -> list[Merit]:
    """The few most robust as predicted, which are measured before one is chosen."""
    return sorted(merits, key=lambda merit: -merit.robust)[:FINALISTS]


def called(space: Space, name: str, seed: Seed, limits: Limits | None = None) -> Form:
    """The form of a name: ``largest``, ``middle``, ``smallest``, or ``drawn-N``.

    Drawn are those of the survey; within limits, as many others by the same seed.

    Raises:
        BadSetting: where the space has no form of that name.
    """
    if name in ("largest", "middle", "smallest"):
        return {"largest": space.largest, "middle": space.middle, "smallest": space.smallest}[name]
    number = name.removeprefix("drawn-")
    if number.isdigit():
        wanted = int(number)
        if limits is None:
            drawn = surveyed(space, seed)[2:]
        else:
            drawn = drawn_within(space, limits, seed, wanted + 1)
        if wanted < len(drawn):
            return drawn[wanted]
        raise BadSetting(f"there is no form {name!r} here; the last one is drawn-{len(drawn) - 1}")
    raise BadSetting(f"there is no form {name!r}; drawn ones are numbered, as drawn-0")


def drawn_within(space: Space, limits: Limits, seed: Seed, count: int) -> list[Form]:
    """Random forms within limits, each once; fewer where ``DRAWS`` draws find no more."""
    affordable(space, limits)
    noise = (seed / "within").generator()
    forms: dict[Form, None] = {}
    for _ in range(DRAWS):
        form = space.draw(noise)
        if limits.allow(space.cost(form)):
            forms[form] = None
        if len(forms) == count:
            break
    return list(forms)


def choose(
    family: ElasticResNet,
    wanted: str | Limits,
    brief: Brief,
    *,
    limits: Limits | None = None,
    recalibrated: bool = True,
) -> tuple[nn.Module, str]:
    """The student of a name, or the most robust one within limits, and the name of its network.

    ``limits`` are those of a name that is drawn.

    Raises:
        BadSetting: for limits that no student meets.
    """
    space = family.space
    if isinstance(wanted, str):
        form = called(space, wanted, brief.seed, limits)
    else:
        affordable(space, wanted)
        known = recall(family, brief.seed)
        likely = [merit.form for merit in finalists(candidates(space, known, wanted, brief.seed))]
        form = max(measure(family, likely, brief), key=lambda m: m.robust).form
    return cut(family, form, brief.data.inputs, recalibrated), form.name


def survey(family: ElasticResNet, brief: Brief) -> None:
    """Measures the forms of the survey and notes them on the family, so that they are kept."""
    forms = surveyed(family.space, brief.seed, len(family.survey))
    merits = measure(family, forms, brief)
    family.survey.copy_(torch.tensor([(merit.clean, merit.robust) for merit in merits]))


def recall(family: ElasticResNet, seed: Seed) -> list[Merit]:
    """The survey that the family carries.

    Raises:
        BadSetting: where it carries none.
    """
    noted = family.survey.tolist()
    if any(share < 0 for row in noted for share in row):
        raise BadSetting("this family was never surveyed; train it again")
    forms = surveyed(family.space, seed, len(noted))
    return [Merit(form, clean, robust) for form, (clean, robust) in zip(forms, noted, strict=True)]


def agreement(known: Sequence[Merit], said: Sequence[Merit]) -> tuple[float, float]:
    """Kendall's tau between measured and predicted, for clean and for robust accuracy."""
    from scipy.stats import kendalltau

    pairs = [("clean", known, said), ("robust", known, said)]
    taus = [
        float(kendalltau([getattr(m, n) for m in a], [getattr(m, n) for m in b]).statistic)
        for n, a, b in pairs
    ]
    return taus[0], taus[1]
