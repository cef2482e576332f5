"""Progress that is kept in memory, and may interrupt a run once."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import torch

from robustbench_kd.core.protocols import Silent


class Interrupted(Exception):
    """The run was killed."""


class MemoryProgress(Silent):
    """Progress in memory, through the same file format as on disk; may interrupt the run once.

    Args:
        saves: the run is interrupted after this many states were saved, if ever,
        steps: and after this many further batches.
    """

    def __init__(self, saves: int | None = None, steps: int = 0) -> None:
        self.states: dict[str, bytes] = {}
        self.saves, self.steps, self.done = saves, steps, 0

    def load(self, key: str) -> dict[str, Any] | None:
        if key not in self.states:
            return None
        state: dict[str, Any] = torch.load(BytesIO(self.states[key]), weights_only=True)
        return state

    def save(self, key: str, state: dict[str, Any]) -> None:
        buffer = BytesIO()
        torch.save(state, buffer)
        self.states[key] = buffer.getvalue()
        self.done += 1
        self._interrupt_if_due()

    def report(self, key: str, done: int, total: int, note: str) -> None:
        if self.done == self.saves:
            self.steps -= 1
            self._interrupt_if_due()

    def _interrupt_if_due(self) -> None:
        if self.done == self.saves and self.steps <= 0:
            self.saves = None
            raise Interrupted
