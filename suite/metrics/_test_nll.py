"""Test text as records hold it: the nats that each model spends on every row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import fsum
from typing import Any, ClassVar

from robustbench_kd.metrics._intervals import ratio_values
from robustbench_kd.metrics._model import ModelMetric
from robustbench_kd.results.record import CLEAN, Record

COLUMN = "test_nll"


def text_rows(record: Record) -> Mapping[str, list[Any]]:
    """Tokens and bytes of each row of the test text."""
    return record.attacks[CLEAN].samples


def row_nats(records: Sequence[Record], role: str) -> list[float]:
    """Nats of each row, the mean over the records of several seeds."""
    columns = [record.numbers(CLEAN, role, COLUMN) for record in records]
    return [fsum(row) / len(row) for row in zip(*columns, strict=True)]


def nats_per_token(records: Sequence[Record], role: str) -> list[float]:
    """A value a row, whose mean is the nats a token of the whole text.

    Windows follow each other without overlap, and each predicts all of its tokens.
    """
    return ratio_values(row_nats(records, role), text_rows(records[0])["tokens"])


@dataclass(frozen=True)
class TextMetric(ModelMetric):
    """A statistic of how well a model predicts the test text; its interval is about the rows."""

    attack: ClassVar[str] = CLEAN
    column: ClassVar[str] = COLUMN

    def available(self, record: Record) -> bool:
        return super().available(record) and {"tokens", "bytes"} <= set(text_rows(record))
