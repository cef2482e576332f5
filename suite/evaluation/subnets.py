"""A family searched: the front of its students, predicted and measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from robustbench_kd.core.errors import BadSetting
from robustbench_kd.core.protocols import Brief
from robustbench_kd.models.elastic_resnet import ElasticResNet
from robustbench_kd.models.subnet_space import Cost
from robustbench_kd.results.record import Share
from robustbench_kd.training.subnet_search import (
    JUDGES,
    Limits,
    Merit,
    agreement,
    candidates,
    finalists,
    front,
    measure,
    predict,
    recall,
)

HELD_OUT = 3  # every third surveyed student is held out from the fit when tau is computed


@dataclass(frozen=True)
class Found:
    """A student of the front: as predicted, as measured, and what it costs."""

    predicted: Merit
    clean: Share
    robust: Share
    cost: Cost


@dataclass(frozen=True)
class Scouting:
    """The front, and Kendall's tau between predicted and measured on ``held_out`` students."""

    rows: tuple[Found, ...]
    tau_clean: float
    tau_robust: float
    fitted: int
    held_out: int

    def words(self) -> str:
        """How far the predictions are to be trusted."""
        return (
            f"Kendall's tau, predicted against measured: clean {self.tau_clean:.2f}, robust "
            f"{self.tau_robust:.2f} ({self.held_out} students held out, {self.fitted} fitted)"
        )

    def json(self) -> dict[str, Any]:
        """The same for machines."""
        return {
            "tau": {
                "clean": self.tau_clean,
                "robust": self.tau_robust,
                "fitted": self.fitted,
                "held_out": self.held_out,
            },
            "students": [
                {
                    "net": row.predicted.form.name,
                    "macs": row.cost.macs,
                    "parameters": row.cost.params,
                    "predicted": {"clean": row.predicted.clean, "robust": row.predicted.robust},
                    "measured": {
                        name: {"hits": share.hits, "count": share.count, "interval": share.interval}
                        for name, share in (("clean", row.clean), ("robust", row.robust))
                    },
                }
                for row in self.rows
            ],
        }


def scout(family: nn.Module, brief: Brief, defense: Any, *, whole: bool) -> Scouting:
    """Searches within the limits of the defense's settings.

    Args:
        whole: measure and return the whole front; else the one student that a defense with these
            limits would choose: of the likeliest, the most robust as measured.

    Raises:
        BadSetting: for a network that is no family, or limits that no student meets.
    """
    if not isinstance(family, ElasticResNet):
        raise BadSetting(f"a {type(family).__name__} holds no family of students")
    space, known = family.space, recall(family, brief.seed)
    limits = Limits(defense.macs, defense.params)
    said = candidates(space, known, limits, brief.seed)
    best = front(said) if whole else finalists(said)
    seen = measure(family, [merit.form for merit in best], brief)
    if not whole:
        place = max(range(len(seen)), key=lambda n: seen[n].robust)
        best, seen = [best[place]], [seen[place]]
    judges = min(JUDGES, len(brief.validation or ()))
    rows = tuple(
        Found(
            likely,
            Share(round(real.clean * judges), judges),
            Share(round(real.robust * judges), judges),
            space.cost(likely.form),
        )
        for likely, real in zip(best, seen, strict=True)
    )
    kept_out, fitted = known[::HELD_OUT], [m for n, m in enumerate(known) if n % HELD_OUT]
    taus = agreement(kept_out, predict(space, fitted, [merit.form for merit in kept_out]))
    return Scouting(rows, *taus, fitted=len(fitted), held_out=len(kept_out))
