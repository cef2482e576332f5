"""What a supernet costs beside three fixed students of its sizes, in epochs and in CPU time."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from robustbench_kd.core.config import Schedule
from robustbench_kd.core.protocols import TrainingContext
from robustbench_kd.core.registry import board_of
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.types import Examples
from robustbench_kd.defenses import proard
from robustbench_kd.defenses.rslad import RSLAD
from robustbench_kd.evaluation.entries import scenario_of
from robustbench_kd.models.elastic_resnet import ElasticResNet
from robustbench_kd.models.subnet_space import SubnetConfig
from robustbench_kd.training.objectives import adversarial_loss
from robustbench_kd.training.subnet_predictor import VALIDATION_IMAGES, measure
from robustbench_kd.training.subnet_search import SURVEY_SIZE
from robustbench_kd.training.trainer import fit

BATCHES = 5
TIMED_IMAGES = 250  # that a surveyed subnet is timed on; the cost grows with their number


@pytest.fixture(scope="module")
def seconds() -> dict[str, float]:
    """CPU seconds of a batch, the kinds interleaved: median of a few rounds."""
    board, scenario = board_of("fashion-linf"), scenario_of("fashion-mnist")
    supernet = scenario.student("elastic", Seed(0) / "student")
    assert isinstance(supernet, ElasticResNet)
    noise = Seed(1).generator()
    x = torch.rand(BATCHES * 128, 1, 28, 28, generator=noise)
    y = torch.randint(10, (len(x),), generator=noise)
    data = Examples(torch.arange(len(x)), x, y)
    teacher = scenario.student(scenario.architectures["teacher"], Seed(2)).eval()

    def context(student: torch.nn.Module) -> TrainingContext:
        return TrainingContext(
            data,
            {"robust": teacher, "own": supernet.subnet(supernet.space.largest).eval()},
            student,
            board.budget,
            board.schedule,
            Seed(3),
        )

    surveyed = replace(context(supernet), validation=data.take(torch.arange(TIMED_IMAGES)))

    def fixed(config: SubnetConfig) -> Callable[[], Any]:
        student = scenario.student(config.name, Seed(4))
        loss = RSLAD().loss(context(student))
        return lambda: fit(student, data, loss, Schedule(epochs=1), Seed(5))

    recipe = proard.ProARD()
    alone = adversarial_loss(board.budget, recipe.steps, recipe.stride)
    elastic = recipe.loss(context(supernet))
    once = Schedule(epochs=1)
    kinds: dict[str, Callable[[], Any]] = {
        "smallest": fixed(supernet.space.smallest),
        "middle": fixed(supernet.space.middle),
        "largest": fixed(supernet.space.largest),
        "alone": lambda: fit(supernet, data, alone, once, Seed(6)),
        "elastic": lambda: fit(supernet, data, elastic, once, Seed(7)),
        "surveyed": lambda: measure(supernet, [supernet.space.sample(noise)], surveyed),
    }
    times: dict[str, list[float]] = {name: [] for name in kinds}
    for _ in range(3):
        for name, run in kinds.items():
            began = time.process_time()
            run()
            times[name].append((time.process_time() - began) / BATCHES)
    return {name: sorted(values)[1] for name, values in times.items()}


def test_a_supernet_trains_for_fewer_epochs_than_three_students_of_its_sizes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    epochs: list[int] = []

    def counted(net: nn.Module, data: Any, loss: Any, schedule: Schedule, *_: Any) -> nn.Module:
        epochs.append(schedule.epochs)
        return net

    board, scenario = board_of("fashion-linf"), scenario_of("fashion-mnist")
    data = Examples(torch.arange(8), torch.rand(8, 1, 28, 28), torch.arange(8))
    supernet = scenario.student("elastic", Seed(0) / "student")
    monkeypatch.setattr(proard, "fit", counted)
    proard.ProARD().train_supernet(
        TrainingContext(data, {}, supernet, board.budget, board.schedule, Seed(1))
    )
    assert epochs == [4, 2, 2, 2], "the largest alone, then width, depth, expansion"
    assert sum(epochs) == 10 < 3 * board.schedule.epochs


def test_a_supernet_costs_less_cpu_time_than_three_students_of_its_sizes(
    seconds: dict[str, float],
) -> None:
    """With its survey; the three need a robust teacher besides, which is not even counted here."""
    batches = -(-55_000 // 128)
    supernet = batches * (4 * seconds["alone"] + 6 * seconds["elastic"])
    supernet += SURVEY_SIZE * seconds["surveyed"] * BATCHES * VALIDATION_IMAGES / TIMED_IMAGES
    three = 5 * batches * (seconds["smallest"] + seconds["middle"] + seconds["largest"])
    print(f"CPU seconds: supernet {supernet:.0f}, three fixed students {three:.0f}, {seconds}")
    assert supernet < three
