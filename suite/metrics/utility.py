"""Utility: what a model generates from clean prompts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from robustbench_kd.metrics._share import ShareMetric


@dataclass(frozen=True)
class Utility(ShareMetric):
    """Share of clean prompts whose images show the requested class."""

    name: ClassVar[str] = "utility"
    margin: ClassVar[float] = 5.0
    column: ClassVar[str] = "clean_correct"
