"""The version of this package, as its metadata has it."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def current() -> str:
    """The installed version, or ``0+unknown`` where the package is only on the path."""
    try:
        return version("robustbench-kd")
    except PackageNotFoundError:
        return "0+unknown"
