"""The training loop: what it changes, what it keeps, and where it takes a run up again."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robustbench_kd.core.config import Budget, Schedule
from robustbench_kd.core.errors import BadModel, BadSetting, MissingData
from robustbench_kd.core.protocols import Brief, Silent
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.types import Examples
from robustbench_kd.defenses.defensive_distillation import DefensiveDistillation
from robustbench_kd.defenses.iad import IAD
from robustbench_kd.defenses.mtard import MTARD
from robustbench_kd.models.statistics import weights_digest
from robustbench_kd.scenarios._image_classification import nothing
from robustbench_kd.scenarios.digits import Digits
from robustbench_kd.training.objectives import by_labels
from robustbench_kd.training.trainer import Turn, fit, rate_at, remember


def images(count: int) -> Examples:
    return Digits().splits(Seed(), whole=True).train.take(torch.arange(count))


def network(seed: int = 0) -> nn.Module:
    return Digits().student("resnet-4-8", Seed(seed))


class Cut(Exception):
    """The power went off."""


class Notebook(Silent):
    """Progress in memory, through the same file format as on disk; may be cut off once.

    Args:
        saves: the power goes off after this many states were kept, if ever,
        steps: and after this many further batches.
    """

    def __init__(self, saves: int | None = None, steps: int = 0) -> None:
        self.kept: dict[str, bytes] = {}
        self.saves, self.steps, self.done = saves, steps, 0

    def load(self, key: str) -> dict[str, Any] | None:
        if key not in self.kept:
            return None
        state: dict[str, Any] = torch.load(BytesIO(self.kept[key]), weights_only=True)
        return state

    def save(self, key: str, state: dict[str, Any]) -> None:
        buffer = BytesIO()
        torch.save(state, buffer)
        self.kept[key] = buffer.getvalue()
        self.done += 1
        self._perhaps_cut()

    def tell(self, key: str, done: int, total: int, note: str) -> None:
        if self.done == self.saves:
            self.steps -= 1
            self._perhaps_cut()

    def _perhaps_cut(self) -> None:
        if self.done == self.saves and self.steps <= 0:
            self.saves = None
            raise Cut


def test_the_rate_rises_in_a_straight_line_and_falls_in_a_straight_line_to_zero() -> None:
    schedule = Schedule(epochs=3, rate=0.4, warm=0.25)
    trace = [rate_at(schedule, n / 200) for n in range(201)]
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
    schedule = Schedule(epochs=2, batch=4, rate=0.1)
    fit(network(), images(18), by_labels, schedule, Seed())
    assert rates == pytest.approx([rate_at(schedule, (n + 0.5) / 10) for n in range(10)])
    assert rates.index(max(rates)) == 2
    assert rates[-1] < 0.01


def test_each_epoch_sees_every_example_once_and_in_another_order() -> None:
    seen: list[Tensor] = []

    def objective(net: nn.Module, batch: Examples, turn: Turn) -> Tensor:
        seen.append(batch.ids)
        return by_labels(net, batch, turn)

    data = images(22)
    fit(network(), data, objective, Schedule(epochs=2, batch=5), Seed())
    assert [len(ids) for ids in seen] == [5, 5, 5, 5, 2] * 2
    epochs = [torch.cat(seen[:5]), torch.cat(seen[5:])]
    for ids in epochs:
        assert sorted(ids.tolist()) == sorted(data.ids.tolist())
    assert not torch.equal(epochs[0], epochs[1])


def test_a_loss_is_told_how_much_of_training_is_done() -> None:
    told: list[float] = []

    def objective(net: nn.Module, batch: Examples, turn: Turn) -> Tensor:
        told.append(turn.done)
        return by_labels(net, batch, turn)

    fit(network(), images(6), objective, Schedule(epochs=2, batch=3), Seed())
    assert told == [0.0, 0.25, 0.5, 0.75]


@pytest.mark.parametrize("count", [12, 13], ids=["whole batches", "a last batch of one"])
def test_the_network_that_is_passed_in_never_changes(count: int) -> None:
    net = network().eval()
    net.get_submodule("head").train()
    before = (weights_digest(net.state_dict()), [m.training for m in net.modules()])
    trained = fit(net, images(count), by_labels, Schedule(epochs=1, batch=4), Seed())
    assert (weights_digest(net.state_dict()), [m.training for m in net.modules()]) == before
    assert weights_digest(trained.state_dict()) != before[0]
    assert not any(module.training for module in trained.modules())
    assert all(weight.grad is None for weight in net.parameters())


def test_training_learns_the_digits() -> None:
    data = images(200)
    trained = fit(network(), data, by_labels, Schedule(epochs=15, batch=20), Seed())
    with torch.inference_mode():
        right = trained(data.inputs).argmax(1) == data.targets
    assert float(right.float().mean()) > 0.9


def brief(progress: Silent) -> Brief:
    teachers = {role: network(n).eval() for n, role in enumerate(("clean", "robust"), 1)}
    return Brief(
        data=images(12),
        teachers=teachers,
        student=network(),
        budget=Budget("linf", 0.1),
        schedule=Schedule(epochs=3, batch=5),
        seed=Seed(5),
        progress=progress,
    )


# After so many epochs, and so many batches into the next.
CUTS = [(1, 0), (1, 2), (2, 0), (2, 2), (3, 0)]


@pytest.mark.parametrize(("saves", "steps"), CUTS)
@pytest.mark.parametrize(
    "defense",
    [MTARD(balance="entropy", pace=0.3, heat=0.2), IAD(), DefensiveDistillation()],
    ids=["mtard", "iad", "defensive-distillation"],
)
def test_a_run_that_was_cut_off_ends_with_the_bits_of_an_undisturbed_one(
    defense: Any, saves: int, steps: int
) -> None:
    whole = weights_digest(defense.harden(brief(Silent())).state_dict())
    notebook = Notebook(saves, steps)
    with pytest.raises(Cut):
        defense.harden(brief(notebook))
    assert len(notebook.kept) > 0
    assert weights_digest(defense.harden(brief(notebook)).state_dict()) == whole


def test_what_mtard_carries_is_part_of_what_is_kept() -> None:
    """Without it a run taken up again would start its balance anew, and end elsewhere."""
    defense, notebook = MTARD(balance="entropy", pace=0.3, heat=0.2), Notebook(1)
    whole = weights_digest(defense.harden(brief(Silent())).state_dict())
    with pytest.raises(Cut):
        defense.harden(brief(notebook))
    (key,) = notebook.kept
    state = notebook.load(key)
    assert state is not None
    carried = state["objective"]
    assert carried["shares"]["first_robust"] > 0
    assert carried["shares"]["clean"] != 0.5
    assert max(carried["entropies"].values()) > 1
    carried["shares"]["clean"] = 0.5
    notebook.save(key, state)
    assert weights_digest(defense.harden(brief(notebook)).state_dict()) != whole


def test_finished_epochs_are_not_repeated() -> None:
    notebook, batches = Notebook(2), []

    def objective(net: nn.Module, batch: Examples, turn: Turn) -> Tensor:
        batches.append(turn.done)
        return by_labels(net, batch, turn)

    def run() -> None:
        fit(network(), images(8), objective, Schedule(epochs=4, batch=4), Seed(), notebook)

    with pytest.raises(Cut):
        run()
    batches.clear()
    run()
    assert batches == [0.5, 0.625, 0.75, 0.875]
    run()
    assert len(batches) == 4


def test_a_training_that_diverges_is_an_error_and_keeps_no_broken_state() -> None:
    notebook = Notebook()
    with pytest.raises(BadModel, match="diverged in epoch"):
        fit(network(), images(8), by_labels, Schedule(3, 4, rate=1e15), Seed(), notebook)
    for state in map(notebook.load, notebook.kept):
        assert state is not None
        assert all(bool(torch.isfinite(value).all()) for value in state["net"].values())


def test_weights_that_the_last_batch_breaks_are_an_error_too() -> None:
    """The only loss is finite; the step that follows it is not."""

    def steep(net: nn.Module, batch: Examples, turn: Turn) -> Tensor:
        return 1e3 * by_labels(net, batch, turn)

    with pytest.raises(BadModel, match="diverged in epoch 1"):
        fit(network(), images(4), steep, Schedule(epochs=1, batch=4, rate=1e38), Seed())


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_a_single_bad_batch_is_enough(bad: float) -> None:
    turns: list[float] = []

    def objective(net: nn.Module, batch: Examples, turn: Turn) -> Tensor:
        turns.append(turn.done)
        return by_labels(net, batch, turn) + (bad if len(turns) == 2 else 0.0)

    with pytest.raises(BadModel, match="diverged in epoch 1"):
        fit(network(), images(12), objective, Schedule(epochs=2, batch=4), Seed())


def test_no_data_is_an_error() -> None:
    with pytest.raises(MissingData, match="no training images"):
        fit(network(), nothing(images(2)), by_labels, Schedule(epochs=1), Seed())


@pytest.mark.parametrize(
    "wrong",
    [{"epochs": 0}, {"batch": 0}, {"rate": 0.0}, {"warm": 0.0}, {"warm": 1.0}, {"momentum": 1.0}],
)
def test_impossible_schedules_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadSetting):
        Schedule(**{"epochs": 1, **wrong})


def test_to_remember_is_to_ask_the_teacher() -> None:
    data, teacher = images(30), network(3)
    statistics = weights_digest(teacher.state_dict())
    says = remember(teacher, data, chunk=7)
    order = torch.randperm(30, generator=Seed().generator())
    with torch.inference_mode():
        asked = teacher.eval()(data.inputs[order])
    torch.testing.assert_close(says(data.ids[order]), asked)
    torch.testing.assert_close(says(data.ids[order][:3]), asked[:3])
    assert weights_digest(teacher.state_dict()) == statistics
    assert not says(data.ids).requires_grad


def test_what_was_remembered_can_feed_a_loss() -> None:
    data, student = images(4), network()
    says = remember(network(3), data)
    loss = (student(data.inputs) * says(data.ids)).sum()
    loss.backward()
    assert all(weight.grad is not None for weight in student.parameters())
