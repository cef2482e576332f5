"""The subnets of one supernet: their Pareto front, predicted and measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from robustbench_kd.core.errors import BadSetting
from robustbench_kd.core.estimates import Estimate
from robustbench_kd.core.protocols import TrainingContext
from robustbench_kd.models.elastic_resnet import ElasticResNet
from robustbench_kd.models.subnet_space import Cost
from robustbench_kd.training.subnet_predictor import (
    VALIDATION_IMAGES,
    SubnetAccuracy,
    kendall_tau,
    measure,
    predict,
)
from robustbench_kd.training.subnet_search import (
    Limits,
    candidates,
    most_robust,
    pareto_front,
    survey_results,
)

HELD_OUT = 3  # every third surveyed subnet is held out from the fit when tau is computed


@dataclass(frozen=True)
class Subnet:
    """A subnet: as predicted, as measured on validation images, and what it costs."""

    predicted: SubnetAccuracy
    clean: Estimate
    robust: Estimate
    cost: Cost


@dataclass(frozen=True)
class SubnetSurvey:
    """Subnets, and Kendall's tau between predicted and measured on ``held_out`` others."""

    subnets: tuple[Subnet, ...]
    tau_clean: float
    tau_robust: float
    fitted: int
    held_out: int

    def words(self) -> str:
        """How far the predictions are to be trusted."""
        return (
            f"Kendall's tau, predicted against measured: clean {self.tau_clean:.2f}, robust "
            f"{self.tau_robust:.2f} ({self.held_out} subnets held out, {self.fitted} fitted)"
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
            "subnets": [
                {
                    "architecture": subnet.predicted.config.name,
                    "macs": subnet.cost.macs,
                    "parameters": subnet.cost.params,
                    "predicted": {
                        "clean": subnet.predicted.clean,
                        "robust": subnet.predicted.robust,
                    },
                    "measured": {"clean": subnet.clean.json(), "robust": subnet.robust.json()},
                }
                for subnet in self.subnets
            ],
        }


def survey_subnets(
    supernet: nn.Module, context: TrainingContext, defense: Any, *, whole: bool
) -> SubnetSurvey:
    """Searches within the limits of the defense's settings.

    Args:
        whole: measure and return the whole Pareto front; else the one subnet that a defense with
            these limits would choose: of the best predicted, the most robust as measured.

    Raises:
        BadSetting: for a network that is no supernet, or limits that no subnet meets.
    """
    if not isinstance(supernet, ElasticResNet):
        raise BadSetting(f"a {type(supernet).__name__} is no supernet that subnets are cut from")
    space, survey = supernet.space, survey_results(supernet, context.seed)
    limits = Limits(defense.macs, defense.params)
    predictions = candidates(space, survey, limits, context.seed)
    chosen = pareto_front(predictions) if whole else most_robust(predictions)
    measured = measure(supernet, [subnet.config for subnet in chosen], context)
    if not whole:
        best = max(range(len(measured)), key=lambda n: measured[n].robust)
        chosen, measured = [chosen[best]], [measured[best]]
    count = min(VALIDATION_IMAGES, len(context.validation or ()))
    subnets = tuple(
        Subnet(
            predicted,
            Estimate.share(round(accuracy.clean * count), count),
            Estimate.share(round(accuracy.robust * count), count),
            space.cost(predicted.config),
        )
        for predicted, accuracy in zip(chosen, measured, strict=True)
    )
    held_out = survey[::HELD_OUT]
    fitted = [subnet for n, subnet in enumerate(survey) if n % HELD_OUT]
    again = predict(space, fitted, [subnet.config for subnet in held_out])
    taus = kendall_tau(held_out, again)
    return SubnetSurvey(subnets, *taus, fitted=len(fitted), held_out=len(held_out))
