"""The control of every panel: submits the inputs as they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from robustbench_kd.core.config import ThreatModel
from robustbench_kd.core.protocols import TargetModel
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.submissions import AdversarialInputs
from robustbench_kd.core.types import PoisonedData, Splits


@dataclass(frozen=True)
class Clean:
    """Does nothing, so its row is the clean accuracy."""

    name: ClassVar[str] = "clean"
    source: ClassVar[str] = "the control"
    requires: ClassVar[type] = TargetModel

    @property
    def threat(self) -> ThreatModel:
        return ThreatModel("evasion", "test_data", "decision_based")

    def poison(self, data: Splits, seed: Seed) -> PoisonedData[None]:
        return PoisonedData(data, None)

    def attack(
        self, model: TargetModel, data: Splits, state: None, seed: Seed
    ) -> AdversarialInputs:
        return AdversarialInputs(data.test.ids, data.test.inputs)
