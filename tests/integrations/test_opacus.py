"""The privacy accountant, against measured values, a closed form and its own laws."""

from __future__ import annotations

import importlib
import math
import sys
from typing import Any

import pytest

from robustbench_kd.core.config import AdamW, Schedule
from robustbench_kd.core.errors import BadSetting, BrokenPlugin
from robustbench_kd.defenses.dp_sgd import DPSGD


def epsilon(noise: float, batch: int, count: int, steps: int, delta: float = 1e-5) -> float:
    pytest.importorskip("opacus")
    from robustbench_kd.integrations import opacus

    return opacus.epsilon(noise, batch, count, steps, delta)


@pytest.mark.parametrize(("noise", "expected"), [(1.19, 1.0), (0.70, 4.0), (0.55, 8.0)])
def test_epsilon_is_what_the_library_was_measured_at(noise: float, expected: float) -> None:
    assert epsilon(noise, 64, 8000, 600) == pytest.approx(expected, rel=0.05)
    smaller, larger = (epsilon(noise * factor, 64, 8000, 600) for factor in (1.05, 0.95))
    assert smaller < expected < larger


@pytest.mark.parametrize("noise", [0.7, 1.0, 2.0, 5.0, 50.0])
def test_epsilon_is_never_below_the_exact_one_of_a_single_gaussian(noise: float) -> None:
    """Without sampling, delta(e) = Phi(1/2s - es) - exp(e) Phi(-1/2s - es) (Balle & Wang 2018)."""

    def phi(t: float) -> float:
        return math.erfc(-t / math.sqrt(2)) / 2

    def delta(e: float) -> float:
        return phi(0.5 / noise - e * noise) - math.exp(e) * phi(-0.5 / noise - e * noise)

    low, high = 0.0, 50.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if delta(middle) > 1e-5 else (low, middle)
    assert high <= epsilon(noise, 100, 100, 1) <= 1.25 * high + 0.05


def test_epsilon_falls_with_noise_and_grows_with_steps_and_share() -> None:
    by_noise = [epsilon(noise, 64, 8000, 600) for noise in (0.0, 0.01, 0.1, 0.5, 1, 5, 50, 1000)]
    assert by_noise[0] == math.inf
    assert by_noise == sorted(set(by_noise), reverse=True)
    by_steps = [epsilon(0.7, 64, 8000, steps) for steps in (1, 10, 100, 1000, 10000)]
    by_share = [epsilon(0.7, batch, 8000, 600) for batch in (1, 8, 64, 512, 8000)]
    for rising in (by_steps, by_share):
        assert rising == sorted(set(rising))


@pytest.mark.parametrize(
    ("schedule", "count", "arguments"),
    [
        (Schedule(epochs=5, batch=64), 7680, (0.7, 64, 7680, 600)),
        (AdamW(epochs=5, batch=64), 7650, (0.7, 64, 7650, 600)),  # the last batch is short
        (Schedule(epochs=3, batch=64), 10, (0.7, 10, 10, 3)),
    ],
)
def test_a_schedule_spends_what_its_steps_spend(
    schedule: Schedule, count: int, arguments: tuple[float, int, int, int]
) -> None:
    assert DPSGD().nominal_epsilon(schedule, count) == epsilon(*arguments)


@pytest.mark.parametrize(
    "arguments",
    [(-1.0, 1, 2, 1, 0.1), (1.0, 3, 2, 1, 0.1), (1.0, 1, 2, 0, 0.1), (1.0, 1, 2, 1, 0.0)],
)
def test_impossible_figures_are_refused(arguments: Any) -> None:
    with pytest.raises(BadSetting, match="an accountant needs"):
        epsilon(*arguments)


def test_without_the_library_one_sentence_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    integration = "robustbench_kd.integrations.opacus"
    for module in {name for name in sys.modules if name.split(".")[0] == "opacus"} | {"opacus"}:
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(sys.modules, integration, raising=False)
    with pytest.raises(BrokenPlugin, match=r"pip install 'robustbench-kd\[dp\]'"):
        importlib.import_module(integration)
    with pytest.raises(BrokenPlugin, match=r"pip install 'robustbench-kd\[dp\]'"):
        DPSGD().nominal_epsilon(Schedule(epochs=1), 100)
