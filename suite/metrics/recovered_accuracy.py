"""Accuracy on inputs with a trigger."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from robustbench_kd.metrics._share import ShareMetric


@dataclass(frozen=True)
class RecoveredAccuracy(ShareMetric):
    """Share of the eligible submitted inputs that are answered correctly all the same."""

    name: ClassVar[str] = "recovered-accuracy"
    margin: ClassVar[float] = 5.0
    column: ClassVar[str] = "recovered"
