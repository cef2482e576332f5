"""A benchmark of what knowledge distillation does to security.

``import robustbench_kd`` is quick: what needs torch is imported when it is first asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from robustbench_kd.evaluation.pipeline import evaluate
    from robustbench_kd.evaluation.verification import Replay, verify
    from robustbench_kd.regression.compare import Comparison, compare
    from robustbench_kd.results.record import Record
    from robustbench_kd.results.store import load_records

HOMES = {
    "Comparison": "regression.compare",
    "Record": "results.record",
    "Replay": "evaluation.verification",
    "compare": "regression.compare",
    "evaluate": "evaluation.pipeline",
    "load_records": "results.store",
    "verify": "evaluation.verification",
}
__all__ = ["Comparison", "Record", "Replay", "compare", "evaluate", "load_records", "verify"]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return import_module("robustbench_kd.core.version").current()
    if name not in HOMES:
        raise AttributeError(f"module 'robustbench_kd' has no attribute {name!r}")
    return getattr(import_module(f"robustbench_kd.{HOMES[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
