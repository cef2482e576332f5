"""The one training loop. A method is a loss; the loop, its schedule and its files are shared."""

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
class TrainStep:
    """What a loss may use of the step it is computed in.

    Attributes:
        noise: the generator of this epoch's draws; it depends on the seed and the epoch alone.
        fraction: the share of all steps that lie behind this one, in [0, 1).
    """

    noise: torch.Generator
    fraction: float


Objective = Callable[[nn.Module, Examples, TrainStep], Scalar]
"""The loss of a batch, as a function of the network that is trained."""


@runtime_checkable
class StatefulObjective(Protocol):
    """A loss with a state of its own (adaptive weights, say), which is saved and restored too."""

    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any]) -> None: ...


def learning_rate_at(schedule: Schedule, fraction: float) -> float:
    """The learning rate after this share of training: a linear rise, then a linear fall to zero."""
    if fraction < schedule.warmup:
        return schedule.learning_rate * fraction / schedule.warmup
    return schedule.learning_rate * (1 - fraction) / (1 - schedule.warmup)


def fit(
    net: nn.Module,
    data: Examples,
    objective: Objective,
    schedule: Schedule,
    seed: Seed,
    progress: Progress | None = None,
) -> nn.Module:
    """Trains a copy of ``net`` and returns it in eval mode; ``net`` itself never changes.

    The last weights are returned: nothing is selected, so nothing can be selected on the wrong
    split. After each epoch the state is handed to ``progress``, under the name of the seed; an
    interrupted run resumes from there and ends with the same bits.

    Raises:
        MissingData: where there is nothing to train on.
        BadModel: where the loss or a weight stops being finite.
    """
    if len(data) == 0:
        raise MissingData("no training examples: an evaluation needs none, but training does")
    progress, key = progress or Silent(), "-".join(map(str, (seed.value, *seed.path)))
    student = copy.deepcopy(net).train()
    optimiser = _optimiser(student, schedule)
    steps = -(-len(data) // schedule.batch)
    total = schedule.epochs * steps
    first_epoch = _restore(progress.load(key), student, optimiser, objective)
    for epoch in range(first_epoch, schedule.epochs):
        epoch_loss = 0.0
        for n, (batch, noise) in enumerate(_batches(data, schedule.batch, seed / "epoch" / epoch)):
            fraction = (epoch * steps + n) / total
            for group in optimiser.param_groups:
                group["lr"] = learning_rate_at(schedule, fraction + 0.5 / total)
            loss = objective(student, batch, TrainStep(noise, fraction))
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            epoch_loss += float(loss.detach())
            progress.report(key, epoch * steps + n + 1, total, f"loss {loss:.3f}")
        if not (math.isfinite(epoch_loss) and _all_finite(student)):
            raise BadModel(
                f"training diverged in epoch {epoch + 1}: loss or weights are no longer finite"
            )
        progress.save(key, _state(epoch + 1, student, optimiser, objective))
    return student.eval()


MAX_CACHED_VALUES = 600_000_000  # 2.4 GB of float32


def cached_logits(teacher: nn.Module, data: Examples, chunk: int = 500) -> Callable[[Ids], Tensor]:
    """The teacher's logits on the plain inputs, computed once and looked up by id.

    Inputs are not augmented, so the logits of an input never change. Order and chunks are fixed, so
    that they do not depend on where a run was resumed. Where all of them would be too many to keep,
    as with a large vocabulary, the teacher is queried at each look-up.

    Raises:
        KeyError: (at a look-up) for an id that is not in ``data``.
    """
    rows = data.ids.new_full((int(data.ids.max()) + 1,), -1)
    rows[data.ids] = torch.arange(len(data), device=data.ids.device)
    with torch.inference_mode():
        teacher.eval()
        fits = teacher(data.inputs[:1]).numel() * len(data) <= MAX_CACHED_VALUES
        cache = torch.cat([teacher(part) for part in data.inputs.split(chunk)]) if fits else None
        cache = None if cache is None else cache.clone()

    def look_up(ids: Ids) -> Tensor:
        index = rows[ids]
        if bool((index < 0).any()):
            raise KeyError("the teacher was not queried on all of these inputs")
        if cache is not None:
            return cache[index]
        with torch.no_grad():
            logits: Tensor = teacher(data.inputs[index])
            return logits

    return look_up


def _optimiser(net: nn.Module, schedule: Schedule) -> torch.optim.Optimizer:
    if isinstance(schedule, AdamW):
        return torch.optim.AdamW(
            net.parameters(),
            lr=schedule.learning_rate,
            betas=(schedule.momentum, schedule.beta2),
            weight_decay=schedule.weight_decay,
        )
    return torch.optim.SGD(
        net.parameters(),
        lr=schedule.learning_rate,
        momentum=schedule.momentum,
        weight_decay=schedule.weight_decay,
        nesterov=schedule.momentum > 0,
    )


def _batches(data: Examples, size: int, seed: Seed) -> Iterator[tuple[Examples, torch.Generator]]:
    """One pass in a random order, and the generator that all batches of the pass draw from."""
    noise = (seed / "noise").generator()
    order = torch.randperm(len(data), generator=(seed / "order").generator())
    for index in order.split(size):
        yield data.take(index), noise


def _all_finite(net: nn.Module) -> bool:
    return all(bool(torch.isfinite(value).all()) for value in net.state_dict().values())


def _state(
    epochs: int, net: nn.Module, optimiser: torch.optim.Optimizer, objective: Objective
) -> dict[str, Any]:
    return {
        "epochs": epochs,
        "net": net.state_dict(),
        "optimiser": optimiser.state_dict(),
        "objective": objective.state_dict() if isinstance(objective, StatefulObjective) else {},
    }


def _restore(
    state: dict[str, Any] | None,
    net: nn.Module,
    optimiser: torch.optim.Optimizer,
    objective: Objective,
) -> int:
    """Loads a saved state in place; returns the number of epochs that it has behind it."""
    if state is None:
        return 0
    net.load_state_dict(state["net"])
    optimiser.load_state_dict(state["optimiser"])
    if isinstance(objective, StatefulObjective):
        objective.load_state_dict(state["objective"])
    epochs: int = state["epochs"]
    return epochs
