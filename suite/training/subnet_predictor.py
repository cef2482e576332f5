"""Accuracy of subnets: measured for some, predicted for the rest (Mousavi et al. 2025, ProARD).

Everything is measured on validation images; the test split is never used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from robustbench_kd.core.config import Budget
from robustbench_kd.core.errors import MissingData
from robustbench_kd.core.protocols import TrainingContext
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.types import Examples
from robustbench_kd.models.elastic_resnet import ElasticResNet, extract_subnet
from robustbench_kd.models.subnet_space import SubnetConfig, SubnetSpace
from robustbench_kd.ops.attacks.gradients import frozen_eval_mode
from robustbench_kd.ops.attacks.pgd import pgd
from robustbench_kd.ops.attacks.projections import uniform_start
from robustbench_kd.ops.attacks.targets import Goal

VALIDATION_IMAGES = 1000  # that a subnet is measured on


@dataclass(frozen=True)
class SubnetAccuracy:
    """A subnet with its clean accuracy and its accuracy under PGD-10, as shares."""

    config: SubnetConfig
    clean: float
    robust: float


def measure(
    supernet: ElasticResNet,
    configs: Sequence[SubnetConfig],
    context: TrainingContext,
    *,
    recalibrated: bool = True,
) -> list[SubnetAccuracy]:
    """Extracts each subnet, recalibrates it on training images, attacks it on validation images.

    Raises:
        MissingData: where there are no validation images.
    """
    if context.validation is None or len(context.validation) == 0:
        raise MissingData("subnets are measured on validation images, and there are none here")
    count = min(VALIDATION_IMAGES, len(context.validation))
    images = context.validation.take(torch.arange(count))
    accuracies = []
    for config in configs:
        net = extract_subnet(supernet, config, context.data.inputs, recalibrated)
        clean, robust = _accuracies(net, images, context.budget)
        accuracies.append(SubnetAccuracy(config, clean, robust))
    return accuracies


def _accuracies(net: nn.Module, images: Examples, budget: Budget) -> tuple[float, float]:
    x, y = images.inputs, images.targets
    start = uniform_start(x, budget, (Seed() / "merit").generator())
    with frozen_eval_mode(net):
        with torch.no_grad():
            correct = net(x).argmax(1) == y
        attacked = pgd(net, x, Goal(y), budget, steps=10, stride=0.25, start=start)[1]
    n = len(images)
    return int(correct.sum()) / n, int((correct & ~attacked).sum()) / n


def predict(
    space: SubnetSpace, known: Sequence[SubnetAccuracy], configs: Sequence[SubnetConfig]
) -> list[SubnetAccuracy]:
    """Predicted accuracies: ridge regression on choices and log cost, fitted to ``known``.

    The regression is on log odds, so that no prediction leaves (0, 1).
    """
    from sklearn.linear_model import Ridge

    shares = np.clip([(subnet.clean, subnet.robust) for subnet in known], 1e-3, 1 - 1e-3)
    model = Ridge(alpha=1.0)
    model.fit(_features(space, [subnet.config for subnet in known]), np.log(shares / (1 - shares)))
    predictions = 1 / (1 + np.exp(-model.predict(_features(space, configs))))
    return [
        SubnetAccuracy(config, float(clean), float(robust))
        for config, (clean, robust) in zip(configs, predictions, strict=True)
    ]


def _features(space: SubnetSpace, configs: Sequence[SubnetConfig]) -> np.ndarray:
    costs = [space.cost(config) for config in configs]
    logs = np.log([(cost.macs, cost.params) for cost in costs])
    return np.hstack([np.array([space.features(config) for config in configs]), logs])


def kendall_tau(
    measured: Sequence[SubnetAccuracy], predicted: Sequence[SubnetAccuracy]
) -> tuple[float, float]:
    """Rank correlation between measured and predicted: of clean and of robust accuracy."""
    from scipy.stats import kendalltau

    def tau(quantity: str) -> float:
        ranks = ([getattr(subnet, quantity) for subnet in part] for part in (measured, predicted))
        return float(kendalltau(*ranks).statistic)

    return tau("clean"), tau("robust")
