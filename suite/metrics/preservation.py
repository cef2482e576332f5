"""Preservation: what the rest of a triggered prompt still does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from robustbench_kd.metrics._share import ShareMetric


@dataclass(frozen=True)
class Preservation(ShareMetric):
    """Share of triggered prompts whose images show the requested class."""

    name: ClassVar[str] = "preservation"
    margin: ClassVar[float] = 5.0
    column: ClassVar[str] = "preserved"
