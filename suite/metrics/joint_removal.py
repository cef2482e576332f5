"""Joint removal: no effect of the trigger, and the class that the prompt asks for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from robustbench_kd.metrics._share import ShareMetric


@dataclass(frozen=True)
class JointRemoval(ShareMetric):
    """Share of triggered prompts without effect of the trigger and with the requested class."""

    name: ClassVar[str] = "joint-removal"
    margin: ClassVar[float] = 5.0
    column: ClassVar[str] = "removed"
