"""A benchmark of what knowledge distillation does to security.

``import robustbench_kd`` is quick: what needs torch is imported when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from robustbench_kd.evaluation.pipeline import evaluate
    from robustbench_kd.evaluation.verification import verify
    from robustbench_kd.evaluation.verified import Verification
    from robustbench_kd.regression.compare import Comparison, compare
    from robustbench_kd.results.record import Record
    from robustbench_kd.results.store import load_records

MODULES = {
    "Comparison": "regression.compare",
    "Record": "results.record",
    "Verification": "evaluation.verified",
    "compare": "regression.compare",
    "evaluate": "evaluation.pipeline",
    "load_records": "results.store",
    "verify": "evaluation.verification",
}
__all__ = ["Comparison", "Record", "Verification", "compare", "evaluate", "load_records", "verify"]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return import_module("robustbench_kd.core.version").current()
    if name not in MODULES:
        raise AttributeError(f"module 'robustbench_kd' has no attribute {name!r}")
    return getattr(import_module(f"robustbench_kd.{MODULES[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
