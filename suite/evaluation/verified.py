"""What a verification reproduced, and how far two columns may differ between machines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from robustbench_kd.core.errors import BadRecord
from robustbench_kd.core.types import SampleScores
from robustbench_kd.evaluation.scorers._base import Scorer
from robustbench_kd.results.record import Bits, Column

FLIPS = 0.01
"""The share of answers of a generating or ranking model that may differ on another machine, where
two tokens are as good as equal; one more may in any case."""


@dataclass(frozen=True)
class Verification:
    """Models that were queried again, recorded values that were reproduced, and what was not shown.

    Attributes:
        marginal: values too close to a decision boundary or within rounding: either way is right.
        broken, robust: of attacks on test data: examples that their stored inputs break, and
            examples that nobody broke.
        not_checkable: what the record claims besides, and nothing here can show.
    """

    models: int
    values: int
    marginal: int = 0
    broken: int | None = None
    robust: int | None = None
    not_checkable: tuple[str, ...] = field(default=())

    def words(self) -> str:
        """In one sentence: ``re-queried 3 models; all 812 recorded values reproduced``."""
        plural = "model" if self.models == 1 else "models"
        text = f"re-queried {self.models} {plural}; all {self.values} recorded values reproduced"
        if self.marginal:
            text += f" ({self.marginal} too close to call)"
        if self.broken is not None:
            text += (
                f"; {self.broken} examples are broken by their stored inputs, so at most "
                f"{self.robust} are robust"
            )
        return "; ".join([text, *(f"not checked: {what}" for what in self.not_checkable)])

    def json(self) -> dict[str, Any]:
        """Its fields, without those that do not apply."""
        return {name: value for name, value in vars(self).items() if value is not None}


@dataclass
class Comparison:
    """Counts what was reproduced, and refutes what was not."""

    path: Path
    values: int = 0
    marginal: int = 0

    def column(
        self, what: str, recorded: Column, fresh: Tensor, scorer: Scorer, undecided: Tensor | None
    ) -> None:
        """Compares one column with what was just observed.

        Args:
            what: names it in an error.
            undecided: samples that another machine may decide otherwise.

        Raises:
            BadRecord: where more values differ than rounding explains.
        """
        spec = scorer.spec(what.partition(" ")[0])
        values = recorded.flags if isinstance(recorded, Bits) else list(recorded)
        old, new = torch.tensor(values, dtype=torch.float64), fresh.double()
        if len(new) != len(old):
            raise BadRecord(f"{self.path} holds {len(old)} values of {what}, not {len(new)}")
        room = 0.0 if spec.kind == "bit" else spec.tolerance
        differs = (old - new).abs() > room * (1 + old.abs())
        self.values += len(new)
        if undecided is not None:
            self.marginal += int(undecided.sum())
            wrong, allowed = int((differs & ~undecided).sum()), 0.0
        else:
            wrong, allowed = int(differs.sum()), FLIPS * len(old) + 1
            self.marginal += wrong if wrong <= allowed else 0
        if wrong > allowed:
            raise BadRecord(
                f"{self.path}: the record says otherwise than the model answers: {what}, "
                f"{wrong} of {len(new)} values"
            )

    def scores(
        self,
        what: str,
        recorded: Mapping[str, Column],
        scores: SampleScores,
        scorer: Scorer,
        first: int | None = None,
    ) -> None:
        """Compares all columns of one model under one attack.

        Args:
            first: only the first so many values were observed again.

        Raises:
            BadRecord: where a column is missing or says otherwise.
        """
        for name, column in recorded.items():
            if name not in scores.columns:
                raise BadRecord(f"{self.path} holds a column {name!r} that {what} does not have")
            if first is not None:
                column = (
                    Bits.of(column.flags[:first]) if isinstance(column, Bits) else column[:first]
                )
            fresh = scores.columns[name]
            self.column(f"{name} of {what}", column, fresh, scorer, scores.undecided)

    def samples(
        self, what: str, recorded: Mapping[str, list[Any]], fresh: Mapping[str, list[Any]]
    ) -> None:
        """Compares what the samples are: ids, repetitions, formats.

        Raises:
            BadRecord: where the record lists others.
        """
        if recorded != fresh:
            raise BadRecord(f"{self.path} lists other samples of {what} than were scored")
