"""What a family costs beside three fixed students of its sizes, in images seen and in CPU time."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from robustbench_kd.core.config import Schedule
from robustbench_kd.core.protocols import Brief
from robustbench_kd.core.registry import board_of
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.types import Examples
from robustbench_kd.defenses._base import proard
from robustbench_kd.defenses.rslad import RSLAD
from robustbench_kd.evaluation.fingerprints import scenario_of
from robustbench_kd.models.elastic_resnet import ElasticResNet
from robustbench_kd.models.subnet_space import Form
from robustbench_kd.training.subnet_search import JUDGES, SURVEYED, measure
from robustbench_kd.training.trainer import fit

BATCHES = 5
JUDGED = 250  # images that a surveyed student is timed on; the cost grows with their number


@pytest.fixture(scope="module")
def spent() -> dict[str, float]:
    """CPU seconds of a batch, the kinds interleaved: median of a few rounds."""
    board, ground = board_of("fashion-linf"), scenario_of("fashion")
    family = ground.student("elastic", Seed(0) / "student")
    assert isinstance(family, ElasticResNet)
    noise = Seed(1).generator()
    x = torch.rand(BATCHES * 128, 1, 28, 28, generator=noise)
    y = torch.randint(10, (len(x),), generator=noise)
    data = Examples(torch.arange(len(x)), x, y)
    teacher = ground.student(ground.nets["teacher"], Seed(2)).eval()

    def brief(student: torch.nn.Module) -> Brief:
        return Brief(
            data,
            {"robust": teacher, "own": family.subnet(family.space.largest).eval()},
            student,
            board.budget,
            board.schedule,
            Seed(3),
        )

    judged = replace(brief(family), validation=data.take(torch.arange(JUDGED)))

    def fixed(form: Form) -> Callable[[], Any]:
        student = ground.student(form.name, Seed(4))
        loss = RSLAD().loss(brief(student))
        return lambda: fit(student, data, loss, Schedule(epochs=1), Seed(5))

    recipe = proard.ProARD()
    alone, taught = recipe._alone(brief(family)), recipe.loss(brief(family))
    once = Schedule(epochs=1)
    kinds: dict[str, Callable[[], Any]] = {
        "smallest": fixed(family.space.smallest),
        "middle": fixed(family.space.middle),
        "largest": fixed(family.space.largest),
        "alone": lambda: fit(family, data, alone, once, Seed(6)),
        "taught": lambda: fit(family, data, taught, once, Seed(7)),
        "surveyed": lambda: measure(family, [family.space.draw(noise)], judged),
    }
    times: dict[str, list[float]] = {name: [] for name in kinds}
    for _ in range(3):
        for name, run in kinds.items():
            began = time.process_time()
            run()
            times[name].append((time.process_time() - began) / BATCHES)
    return {name: sorted(found)[1] for name, found in times.items()}


def test_a_family_sees_fewer_images_than_three_students_of_its_sizes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    epochs: list[int] = []

    def counted(net: nn.Module, data: Any, loss: Any, schedule: Schedule, *_: Any) -> nn.Module:
        epochs.append(schedule.epochs)
        return net

    board, ground = board_of("fashion-linf"), scenario_of("fashion")
    data = Examples(torch.arange(8), torch.rand(8, 1, 28, 28), torch.arange(8))
    family = ground.student("elastic", Seed(0) / "student")
    monkeypatch.setattr(proard, "fit", counted)
    proard.ProARD().raise_family(Brief(data, {}, family, board.budget, board.schedule, Seed(1)))
    assert epochs == [4, 2, 2, 2], "the largest alone, then width, depth, expansion"
    assert sum(epochs) == 10 < 3 * board.schedule.epochs


def test_a_family_costs_less_cpu_time_than_three_students_of_its_sizes(
    spent: dict[str, float],
) -> None:
    """With its survey; the three need a robust teacher besides, which is not even counted here."""
    batches = -(-55_000 // 128)
    family = batches * (4 * spent["alone"] + 6 * spent["taught"])
    family += SURVEYED * spent["surveyed"] * BATCHES * JUDGES / JUDGED
    three = 5 * batches * (spent["smallest"] + spent["middle"] + spent["largest"])
    print(f"CPU seconds: family {family:.0f}, three fixed students {three:.0f}, {spent}")
    assert family < three
