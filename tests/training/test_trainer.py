"""The training loop: what it changes, what it leaves, and where it resumes an interrupted run."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robustbench_kd.core.config import Budget, Schedule
from robustbench_kd.core.errors import BadModel, BadSetting, MissingData
from robustbench_kd.core.protocols import Silent, TrainingContext
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.types import Examples
from robustbench_kd.defenses.defensive_distillation import DefensiveDistillation
from robustbench_kd.defenses.iad import IAD
from robustbench_kd.defenses.mtard import MTARD
from robustbench_kd.models.statistics import weights_digest
from robustbench_kd.scenarios._image_classification import no_examples
from robustbench_kd.scenarios.digits import Digits
from robustbench_kd.training import trainer
from robustbench_kd.training.objectives import label_loss
from robustbench_kd.training.trainer import TrainStep, cached_logits, fit, learning_rate_at


def images(count: int) -> Examples:
    return Digits().splits(Seed(), whole=True).train.take(torch.arange(count))


def network(seed: int = 0) -> nn.Module:
    return Digits().student("resnet-4-8", Seed(seed))


class Interrupted(Exception):
    """The run was killed."""


class MemoryProgress(Silent):
    """Progress in memory, through the same file format as on disk; may interrupt the run once.

    Args:
        saves: the run is interrupted after this many states were saved, if ever,
        steps: and after this many further batches.
    """

    def __init__(self, saves: int | None = None, steps: int = 0) -> None:
        self.states: dict[str, bytes] = {}
        self.saves, self.steps, self.done = saves, steps, 0

    def load(self, key: str) -> dict[str, Any] | None:
        if key not in self.states:
            return None
        state: dict[str, Any] = torch.load(BytesIO(self.states[key]), weights_only=True)
        return state

    def save(self, key: str, state: dict[str, Any]) -> None:
        buffer = BytesIO()
        torch.save(state, buffer)
        self.states[key] = buffer.getvalue()
        self.done += 1
        self._interrupt_if_due()

    def report(self, key: str, done: int, total: int, note: str) -> None:
        if self.done == self.saves:
            self.steps -= 1
            self._interrupt_if_due()

    def _interrupt_if_due(self) -> None:
        if self.done == self.saves and self.steps <= 0:
            self.saves = None
            raise Interrupted


def test_the_learning_rate_rises_linearly_and_falls_linearly_to_zero() -> None:
    schedule = Schedule(epochs=3, learning_rate=0.4, warmup=0.25)
    trace = [learning_rate_at(schedule, n / 200) for n in range(201)]
    assert trace[0] == 0.0
    assert trace[50] == pytest.approx(0.4) == max(trace)
    assert trace[200] == pytest.approx(0.0, abs=1e-12)
    assert trace[:51] == sorted(set(trace[:51]))
    assert trace[50:] == sorted(set(trace[50:]), reverse=True)
    assert trace[25] == pytest.approx(0.2)
    assert trace[125] == pytest.approx(0.2)


def test_every_batch_is_trained_at_the_rate_of_its_middle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Five batches in each of two epochs; the last is as good as zero, and none is skipped."""
    rates, plain_step = [], torch.optim.SGD.step

    def step(self: torch.optim.SGD, *rest: Any) -> Any:
        rates.append(self.param_groups[0]["lr"])
        return plain_step(self, *rest)

    monkeypatch.setattr(torch.optim.SGD, "step", step)
    schedule = Schedule(epochs=2, batch=4, learning_rate=0.1)
    fit(network(), images(18), label_loss, schedule, Seed())
    assert rates == pytest.approx([learning_rate_at(schedule, (n + 0.5) / 10) for n in range(10)])
    assert rates.index(max(rates)) == 2
    assert rates[-1] < 0.01


def test_each_epoch_sees_every_example_once_and_in_another_order() -> None:
    seen: list[Tensor] = []

    def objective(net: nn.Module, batch: Examples, step: TrainStep) -> Tensor:
        seen.append(batch.ids)
        return label_loss(net, batch, step)

    data = images(22)
    fit(network(), data, objective, Schedule(epochs=2, batch=5), Seed())
    assert [len(ids) for ids in seen] == [5, 5, 5, 5, 2] * 2
    epochs = [torch.cat(seen[:5]), torch.cat(seen[5:])]
    for ids in epochs:
        assert sorted(ids.tolist()) == sorted(data.ids.tolist())
    assert not torch.equal(epochs[0], epochs[1])


def test_a_loss_knows_the_share_of_training_that_is_done() -> None:
    fractions: list[float] = []

    def objective(net: nn.Module, batch: Examples, step: TrainStep) -> Tensor:
        fractions.append(step.fraction)
        return label_loss(net, batch, step)

    fit(network(), images(6), objective, Schedule(epochs=2, batch=3), Seed())
    assert fractions == [0.0, 0.25, 0.5, 0.75]


@pytest.mark.parametrize("count", [12, 13], ids=["whole batches", "a last batch of one"])
def test_the_network_that_is_passed_in_never_changes(count: int) -> None:
    net = network().eval()
    net.get_submodule("head").train()
    before = (weights_digest(net.state_dict()), [m.training for m in net.modules()])
    trained = fit(net, images(count), label_loss, Schedule(epochs=1, batch=4), Seed())
    assert (weights_digest(net.state_dict()), [m.training for m in net.modules()]) == before
    assert weights_digest(trained.state_dict()) != before[0]
    assert not any(module.training for module in trained.modules())
    assert all(weight.grad is None for weight in net.parameters())


def test_training_learns_the_digits() -> None:
    data = images(200)
    trained = fit(network(), data, label_loss, Schedule(epochs=15, batch=20), Seed())
    with torch.inference_mode():
        right = trained(data.inputs).argmax(1) == data.targets
    assert float(right.float().mean()) > 0.9


def context(progress: Silent) -> TrainingContext:
    teachers = {role: network(n).eval() for n, role in enumerate(("clean", "robust"), 1)}
    return TrainingContext(
        data=images(12),
        teachers=teachers,
        student=network(),
        budget=Budget("linf", 0.1),
        schedule=Schedule(epochs=3, batch=5),
        seed=Seed(5),
        progress=progress,
    )


# After so many epochs, and so many batches of the next.
INTERRUPTIONS = [(1, 0), (1, 2), (2, 0), (2, 2), (3, 0)]


@pytest.mark.parametrize(("saves", "steps"), INTERRUPTIONS)
@pytest.mark.parametrize(
    "defense",
    [MTARD(balance="entropy", pace=0.3, heat=0.2), IAD(), DefensiveDistillation()],
    ids=["mtard", "iad", "defensive-distillation"],
)
def test_an_interrupted_run_ends_with_the_bits_of_an_undisturbed_one(
    defense: Any, saves: int, steps: int
) -> None:
    whole = weights_digest(defense.train(context(Silent())).state_dict())
    progress = MemoryProgress(saves, steps)
    with pytest.raises(Interrupted):
        defense.train(context(progress))
    assert len(progress.states) > 0
    assert weights_digest(defense.train(context(progress)).state_dict()) == whole


def test_the_state_of_mtards_balance_is_saved() -> None:
    """Without it a resumed run would start its balance anew, and end elsewhere."""
    defense, progress = MTARD(balance="entropy", pace=0.3, heat=0.2), MemoryProgress(1)
    whole = weights_digest(defense.train(context(Silent())).state_dict())
    with pytest.raises(Interrupted):
        defense.train(context(progress))
    (key,) = progress.states
    state = progress.load(key)
    assert state is not None
    balance = state["objective"]
    assert balance["shares"]["first_robust"] > 0
    assert balance["shares"]["clean"] != 0.5
    assert max(balance["entropies"].values()) > 1
    balance["shares"]["clean"] = 0.5
    progress.save(key, state)
    assert weights_digest(defense.train(context(progress)).state_dict()) != whole


def test_finished_epochs_are_not_repeated() -> None:
    progress, batches = MemoryProgress(2), []

    def objective(net: nn.Module, batch: Examples, step: TrainStep) -> Tensor:
        batches.append(step.fraction)
        return label_loss(net, batch, step)

    def run() -> None:
        fit(network(), images(8), objective, Schedule(epochs=4, batch=4), Seed(), progress)

    with pytest.raises(Interrupted):
        run()
    batches.clear()
    run()
    assert batches == [0.5, 0.625, 0.75, 0.875]
    run()
    assert len(batches) == 4


def test_a_training_that_diverges_is_an_error_and_saves_no_broken_state() -> None:
    progress = MemoryProgress()
    with pytest.raises(BadModel, match="diverged in epoch"):
        fit(network(), images(8), label_loss, Schedule(3, 4, learning_rate=1e15), Seed(), progress)
    for state in map(progress.load, progress.states):
        assert state is not None
        assert all(bool(torch.isfinite(value).all()) for value in state["net"].values())


def test_weights_that_the_last_batch_breaks_are_an_error_too() -> None:
    """The only loss is finite; the step that follows it is not."""

    def steep(net: nn.Module, batch: Examples, step: TrainStep) -> Tensor:
        return 1e3 * label_loss(net, batch, step)

    with pytest.raises(BadModel, match="diverged in epoch 1"):
        fit(network(), images(4), steep, Schedule(epochs=1, batch=4, learning_rate=1e38), Seed())


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_a_single_bad_batch_is_enough(bad: float) -> None:
    fractions: list[float] = []

    def objective(net: nn.Module, batch: Examples, step: TrainStep) -> Tensor:
        fractions.append(step.fraction)
        return label_loss(net, batch, step) + (bad if len(fractions) == 2 else 0.0)

    with pytest.raises(BadModel, match="diverged in epoch 1"):
        fit(network(), images(12), objective, Schedule(epochs=2, batch=4), Seed())


def test_no_data_is_an_error() -> None:
    with pytest.raises(MissingData, match="no training examples"):
        fit(network(), no_examples(images(2)), label_loss, Schedule(epochs=1), Seed())


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": 0},
        {"batch": 0},
        {"learning_rate": 0.0},
        {"warmup": 0.0},
        {"warmup": 1.0},
        {"momentum": 1.0},
    ],
)
def test_impossible_schedules_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadSetting):
        Schedule(**{"epochs": 1, **wrong})


def test_cached_logits_are_the_teachers() -> None:
    data, teacher = images(30), network(3)
    statistics = weights_digest(teacher.state_dict())
    look_up = cached_logits(teacher, data, chunk=7)
    order = torch.randperm(30, generator=Seed().generator())
    with torch.inference_mode():
        expected = teacher.eval()(data.inputs[order])
    torch.testing.assert_close(look_up(data.ids[order]), expected)
    torch.testing.assert_close(look_up(data.ids[order][:3]), expected[:3])
    assert weights_digest(teacher.state_dict()) == statistics
    assert not look_up(data.ids).requires_grad


def test_cached_logits_can_feed_a_loss() -> None:
    data, student = images(4), network()
    look_up = cached_logits(network(3), data)
    loss = (student(data.inputs) * look_up(data.ids)).sum()
    loss.backward()
    assert all(weight.grad is not None for weight in student.parameters())


def test_too_many_logits_are_not_cached_but_queried_at_each_look_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data, teacher = images(6), network(3)
    cached = cached_logits(teacher, data)
    monkeypatch.setattr(trainer, "MAX_CACHED_VALUES", 59)
    queried = cached_logits(teacher, data)
    torch.testing.assert_close(queried(data.ids), cached(data.ids))
    with torch.no_grad():
        teacher.get_submodule("head").bias.add_(1.0)  # type: ignore[operator]
    torch.testing.assert_close(queried(data.ids), cached(data.ids) + 1)


def test_an_input_that_the_teacher_was_not_queried_on_has_no_logits() -> None:
    data = replace(images(4), ids=torch.tensor([0, 2, 4, 6]))
    with pytest.raises(KeyError, match="not queried on all"):
        cached_logits(network(3), data)(torch.tensor([2, 3]))
