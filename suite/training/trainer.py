"""The one training loop. A method is a loss; the loop, the clock and the files are not its own."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from robustbench_kd.core.config import AdamW, Schedule
from robustbench_kd.core.errors import BadModel, MissingData
from robustbench_kd.core.protocols import Progress, Silent
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.tensor_types import Ids, Scalar
from robustbench_kd.core.types import Examples


@dataclass(frozen=True)
class Turn:
    """What a loss may know of the moment: a source of noise, and the share of training done."""

    noise: torch.Generator
    done: float


Objective = Callable[[nn.Module, Examples, Turn], Scalar]


@runtime_checkable
class Carries(Protocol):
    """An objective with a memory of its own (adaptive weights), kept and taken up like the rest."""

    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any]) -> None: ...


def rate_at(schedule: Schedule, done: float) -> float:
    """The learning rate after this share of training: up in a straight line, then down to zero."""
    if done < schedule.warm:
        return schedule.rate * done / schedule.warm
    return schedule.rate * (1 - done) / (1 - schedule.warm)


def fit(
    net: nn.Module,
    data: Examples,
    objective: Objective,
    schedule: Schedule,
    seed: Seed,
    progress: Progress | None = None,
) -> nn.Module:
    """Trains a copy of ``net``; the one that was passed in never changes.

    The last weights are returned: nothing is selected, so nothing can be selected on the wrong
    split. After each epoch the state is handed to ``progress``, under the name of the seed; a run
    that was cut off goes on from there and ends with the same bits.

    Raises:
        MissingData: where there is nothing to train on.
        BadModel: where the loss or a weight stops being finite.
    """
    if len(data) == 0:
        raise MissingData("no training images: an evaluation needs none, but training does")
    progress, key = progress or Silent(), "-".join(map(str, (seed.value, *seed.path)))
    student = copy.deepcopy(net).train()
    optimiser = _optimiser(student, schedule)
    steps = -(-len(data) // schedule.batch)
    first = _restore(progress.load(key), student, optimiser, objective)
    for epoch in range(first, schedule.epochs):
        total = 0.0
        for n, (batch, noise) in enumerate(_batches(data, schedule.batch, seed / "epoch" / epoch)):
            done = (epoch * steps + n) / (schedule.epochs * steps)
            for group in optimiser.param_groups:
                group["lr"] = rate_at(schedule, done + 0.5 / (schedule.epochs * steps))
            loss = objective(student, batch, Turn(noise, done))
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            total += float(loss.detach())
            progress.tell(key, epoch * steps + n + 1, schedule.epochs * steps, f"loss {loss:.3f}")
        if not (math.isfinite(total) and _finite(student)):
            raise BadModel(
                f"training diverged in epoch {epoch + 1}: loss or weights are no longer finite"
            )
        progress.save(key, _state(epoch + 1, student, optimiser, objective))
    return student.eval()


ROOM = 600_000_000  # as many answers are kept in memory: 2.4 GB


def remember(teacher: nn.Module, data: Examples, chunk: int = 500) -> Callable[[Ids], Tensor]:
    """The teacher's answers to the plain inputs, asked once; look them up by id.

    Nothing is augmented here, so what the teacher says of an input never changes. The order and
    the chunks are fixed, so that the answers do not depend on where a run was taken up. Where all
    answers would be too many to keep, as with a large vocabulary, it is asked each time.
    """
    place = data.ids.new_full((int(data.ids.max()) + 1,), -1)
    place[data.ids] = torch.arange(len(data), device=data.ids.device)
    with torch.inference_mode():
        teacher.eval()
        few = teacher(data.inputs[:1]).numel() * len(data) <= ROOM
        said = torch.cat([teacher(part) for part in data.inputs.split(chunk)]) if few else None
        said = None if said is None else said.clone()

    def says(ids: Ids) -> Tensor:
        places = place[ids]
        if bool((places < 0).any()):
            raise KeyError("the teacher was not asked about all of these inputs")
        if said is not None:
            return said[places]
        with torch.no_grad():
            answers: Tensor = teacher(data.inputs[places])
            return answers

    return says


def _optimiser(net: nn.Module, schedule: Schedule) -> torch.optim.Optimizer:
    if isinstance(schedule, AdamW):
        return torch.optim.AdamW(
            net.parameters(),
            lr=schedule.rate,
            betas=(schedule.momentum, schedule.second),
            weight_decay=schedule.decay,
        )
    return torch.optim.SGD(
        net.parameters(),
        lr=schedule.rate,
        momentum=schedule.momentum,
        weight_decay=schedule.decay,
        nesterov=schedule.momentum > 0,
    )


def _batches(data: Examples, size: int, seed: Seed) -> Iterator[tuple[Examples, torch.Generator]]:
    """One pass in a random order; the noise of a batch depends on its place, not on its past."""
    noise = (seed / "noise").generator()
    order = torch.randperm(len(data), generator=(seed / "order").generator())
    for index in order.split(size):
        yield data.take(index), noise


def _finite(net: nn.Module) -> bool:
    return all(bool(torch.isfinite(value).all()) for value in net.state_dict().values())


def _state(
    done: int, net: nn.Module, optimiser: torch.optim.Optimizer, objective: Objective
) -> dict[str, Any]:
    carried: dict[str, Any] = objective.state_dict() if isinstance(objective, Carries) else {}
    return {
        "epochs": done,
        "net": net.state_dict(),
        "optimiser": optimiser.state_dict(),
        "objective": carried,
    }


def _restore(
    state: dict[str, Any] | None,
    net: nn.Module,
    optimiser: torch.optim.Optimizer,
    objective: Objective,
) -> int:
    if state is None:
        return 0
    net.load_state_dict(state["net"])
    optimiser.load_state_dict(state["optimiser"])
    if isinstance(objective, Carries):
        objective.load_state_dict(state["objective"])
    epochs: int = state["epochs"]
    return epochs
