"""The control of every panel: hands in the inputs as they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from robustbench_kd.core.protocols import Subject
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.types import Splits, Submission, Tainted, Threat


@dataclass(frozen=True)
class Untouched:
    """Does nothing, so its row is the accuracy on clean inputs."""

    name: ClassVar[str] = "untouched"
    source: ClassVar[str] = "the control"
    meets: ClassVar[type] = Subject

    @property
    def threat(self) -> Threat:
        return Threat("evade", "input", "answers")

    def before(self, data: Splits, seed: Seed) -> Tainted[None]:
        return Tainted(data, None)

    def after(self, subject: Subject, data: Splits, secret: None, seed: Seed) -> Submission:
        return Submission(data.test.ids, data.test.inputs)
