"""A ranking as an Apache Parquet file: the columns of the CSV, typed. The only user of pyarrow."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

from robustbench_kd.core.errors import BadSetting
from robustbench_kd.reports.formats.dataframe import frame_of
from robustbench_kd.results.record import Json


def expect_pyarrow() -> None:
    """Refuses the format where pyarrow is missing, before anything is read.

    Raises:
        BadSetting: with what to install.
    """
    if find_spec("pyarrow") is None:
        raise BadSetting(
            "parquet needs pyarrow, which is not installed: pip install 'robustbench-kd[parquet]'"
        )


def as_parquet(rows: Sequence[Json]) -> bytes:
    """The lines of a table, as the bytes of a Parquet file.

    Raises:
        BadSetting: where pyarrow is missing.
    """
    expect_pyarrow()
    data: bytes = frame_of(rows).to_parquet(engine="pyarrow", index=False)
    return data
