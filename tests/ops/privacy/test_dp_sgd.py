"""DP-SGD: what clipping and noise promise, against loops, closed forms and an accountant."""

from __future__ import annotations

import importlib
import math
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from test_train import Cut, Notebook
from torch import Tensor, nn

from robustbench_kd.core.config import AdamW, Budget, Schedule
from robustbench_kd.core.errors import BadModel, BadSetting, BrokenPlugin
from robustbench_kd.core.protocols import Brief, Silent
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.types import Examples
from robustbench_kd.defenses.dp_sgd import DPSGD
from robustbench_kd.defenses.labels import Labels
from robustbench_kd.models.statistics import weights_digest
from robustbench_kd.ops.privacy import dp_sgd
from robustbench_kd.scenarios.digits import Digits
from robustbench_kd.training.objectives import by_labels
from robustbench_kd.training.trainer import Turn, rate_at

WORDS, LENGTH = 40, 12


class Reader(nn.Module):
    """One head of causal attention over tokens, by torch's own fused kernel."""

    def __init__(self) -> None:
        super().__init__()
        self.read = nn.Embedding(WORDS, 8)
        self.ask, self.write = nn.Linear(8, 24), nn.Linear(8, WORDS)

    def forward(self, ids: Tensor) -> Tensor:
        q, k, v = self.ask(self.read(ids))[:, None].chunk(3, dim=-1)
        seen: Tensor = self.write(F.scaled_dot_product_attention(q, k, v, is_causal=True)[:, 0])
        return seen


def perceptron() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.GELU(), nn.Linear(16, 10))


def convolutional() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, 2), nn.GroupNorm(2, 4), nn.ReLU(), nn.Flatten(), nn.Linear(36, 10)
    )


def gpt2(attention: str) -> nn.Module:
    pytest.importorskip("transformers")
    from robustbench_kd.integrations.transformers import build

    net = build("gpt2-32-2", WORDS, LENGTH, Seed())
    net.model.config._attn_implementation = attention
    return net


NETS: dict[str, Callable[[], nn.Module]] = {
    "perceptron": perceptron,
    "convolutions with group normalisation": convolutional,
    "attention": Reader,
    "gpt2, eager": lambda: gpt2("eager"),
    "gpt2, fused": lambda: gpt2("sdpa"),
}


def drawn(make: Callable[[], nn.Module] = perceptron, seed: int = 0) -> nn.Module:
    """The network with weights that depend on the seed alone."""
    with torch.random.fork_rng(devices=[]):
        net = make()
    noise = (Seed(seed) / "weights").generator()
    for weight in net.parameters():
        weight.data = torch.randn(weight.shape, generator=noise) / 3
    return net.train()


def images(count: int) -> Examples:
    return Digits().splits(Seed(), whole=True).train.take(torch.arange(count))


def rows(count: int) -> Examples:
    """Random tokens; of each row a different number of the last ones is asked."""
    noise = (Seed() / "rows").generator()
    ids = torch.randint(WORDS, (count, LENGTH), generator=noise)
    targets = torch.randint(WORDS, (count, LENGTH), generator=noise)
    for n in range(count):
        targets[n, : n % (LENGTH - 1)] = -100
    return Examples(torch.arange(count), ids, targets)


def data_for(name: str, count: int) -> Examples:
    return rows(count) if "gpt2" in name or name == "attention" else images(count)


def brief(net: nn.Module, data: Examples, schedule: Schedule | None = None, seed: int = 0) -> Brief:
    return Brief(
        data=data,
        teachers={},
        student=net,
        budget=Budget("linf", 0.1),
        schedule=schedule or Schedule(epochs=2, batch=8),
        seed=Seed(seed),
    )


def one_step(count: int) -> Schedule:
    """A single step of plain gradient descent over all examples, at half of a rate of one."""
    return Schedule(epochs=1, batch=count, rate=0.75, momentum=0.0, decay=0.0)


def flat(net: nn.Module) -> Tensor:
    return torch.cat([weight.detach().flatten() for weight in net.parameters()])


def row(gradient: dict[str, Tensor]) -> Tensor:
    return torch.cat([g.flatten() for g in gradient.values()])


def loop(net: nn.Module, data: Examples) -> list[tuple[Tensor, Tensor]]:
    """Loss and gradient of each example by a pass of its own."""
    found = []
    for x, y in zip(data.inputs, data.targets, strict=True):
        scores = net(x[None])[0]
        loss = (
            F.cross_entropy(scores[y != -100], y[y != -100])
            if y.dim()
            else F.cross_entropy(scores, y)
        )
        slopes = torch.autograd.grad(loss, list(net.parameters()))
        found.append((loss.detach(), torch.cat([slope.flatten() for slope in slopes])))
    return found


def mean_gradient(net: nn.Module, data: Examples, **settings: Any) -> Tensor:
    """The private gradient in one row."""
    given = {"clip": 1.0, "noise": 0.0, "lot": len(data), "chunk": 16} | settings
    generator = (Seed(given.pop("seed", 0)) / "noise").generator()
    return row(dp_sgd.private_gradient(net, data.inputs, data.targets, generator, **given)[0])


@pytest.mark.parametrize("name", NETS)
def test_the_gradient_of_each_example_is_that_of_a_pass_of_its_own(name: str) -> None:
    net, data = drawn(NETS[name]), data_for(name, 6)
    gradients, losses = dp_sgd.own_gradients(net, data.inputs, data.targets)
    assert list(gradients) == [key for key, _ in net.named_parameters()]
    for n, (loss, slope) in enumerate(loop(net, data)):
        torch.testing.assert_close(losses[n], loss, rtol=1e-6, atol=1e-6)
        own = row({key: g[n] for key, g in gradients.items()})
        torch.testing.assert_close(own, slope, rtol=0, atol=1e-6)
        assert float(slope.norm()) > 1e-3


@pytest.mark.parametrize("name", ["perceptron", "attention"])
def test_the_mean_is_that_of_algorithm_one(name: str) -> None:
    """Written down once more: shorten each, add them, add noise, divide by the lot."""
    net, data = drawn(NETS[name]), data_for(name, 7)
    slopes = [slope for _, slope in loop(net, data)]
    clip = float(torch.stack(slopes).norm(dim=1).median())  # some are longer, some are not
    total = sum((slope / max(1.0, float(slope.norm()) / clip) for slope in slopes), torch.zeros(()))
    noise = (Seed(3) / "noise").generator()
    drawn_noise = torch.cat(
        [torch.randn(w.shape, generator=noise).flatten() for w in net.parameters()]
    )
    wanted = (total + 0.5 * clip * drawn_noise) / 10
    ours = mean_gradient(net, data, clip=clip, noise=0.5, lot=10, chunk=3, seed=3)
    torch.testing.assert_close(ours, wanted, rtol=1e-5, atol=1e-6)


@given(
    scales=st.lists(st.floats(-6, 6), min_size=2, max_size=6),
    clip=st.floats(1e-3, 1e3),
    seed=st.integers(0, 1000),
)
def test_no_example_contributes_more_than_the_clip(
    scales: list[float], clip: float, seed: int
) -> None:
    """Whatever the others are; and a gradient that is short enough counts as it is."""
    noise, sizes = Seed(seed).generator(), torch.tensor([10.0**scale for scale in scales])
    gradients = {
        "a": torch.randn(len(scales), 3, 2, generator=noise) * sizes[:, None, None],
        "b": torch.randn(len(scales), generator=noise) * sizes,
    }
    for n in range(len(scales)):
        own = {key: g[n : n + 1] for key, g in gradients.items()}
        alone, length = row(dp_sgd.clipped_sum(own, clip)), float(row(own).norm())
        assert float(alone.norm()) == pytest.approx(min(length, clip), rel=1e-5)
        torch.testing.assert_close(alone * length, row(own) * float(alone.norm()))
        rest = {key: torch.cat([g[:n], g[n + 1 :]]) for key, g in gradients.items()}
        left = row(dp_sgd.clipped_sum(gradients, clip)) - row(dp_sgd.clipped_sum(rest, clip))
        assert float(left.norm()) <= clip * (1 + 1e-5 * len(scales))


def test_the_norm_is_over_all_parameters_at_once() -> None:
    gradients = {"a": torch.tensor([[3.0], [0.0]]), "b": torch.tensor([4.0, 1.0])}
    assert dp_sgd.norms(gradients).tolist() == [5.0, 1.0]
    assert row(dp_sgd.clipped_sum(gradients, 1.0)).tolist() == pytest.approx([0.6, 1.8])


def test_the_noise_has_the_stated_deviation_in_every_coordinate() -> None:
    """Within four standard errors, at a rate of its own for clip, sigma and lot."""
    net, data = drawn(lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 200))), images(4)
    count = len(flat(net))
    for clip, sigma, lot in ((1.0, 0.7, 4), (0.25, 3.0, 4), (1.0, 0.7, 40)):
        plain = mean_gradient(net, data, clip=clip, lot=lot)
        noised = mean_gradient(net, data, clip=clip, noise=sigma, lot=lot)
        z = (noised - plain) * lot / (sigma * clip)
        assert abs(float(z.std()) - 1) < 4 / math.sqrt(2 * count)
        assert abs(float(z.mean())) < 4 / math.sqrt(count)
        for weight in z.split([len(w.flatten()) for w in net.parameters()]):
            assert abs(float(weight.std()) - 1) < 4 / math.sqrt(2 * len(weight))


def test_noise_is_drawn_once_a_batch_and_not_once_a_chunk() -> None:
    net, data = drawn(), images(10)
    whole = mean_gradient(net, data, noise=2.0, chunk=10)
    for chunk in (1, 3, 4096):
        torch.testing.assert_close(mean_gradient(net, data, noise=2.0, chunk=chunk), whole)


def test_a_row_in_which_nothing_is_asked_teaches_nothing() -> None:
    net, data = drawn(Reader), rows(4)
    data.targets[2] = -100
    gradients, losses = dp_sgd.own_gradients(net, data.inputs, data.targets)
    assert float(losses[2]) == 0
    assert float(dp_sgd.norms(gradients)[2]) == 0
    assert float(dp_sgd.norms(gradients).sum()) > 0


def test_the_loss_has_exactly_the_private_gradient_and_shows_the_plain_loss() -> None:
    net, data, settings = drawn(), images(6), DPSGD(noise=1.3, clip=0.5)
    objective = settings.loss(brief(net, data, Schedule(epochs=1, batch=6)))
    loss = objective(net, data, Turn((Seed(5) / "noise").generator(), 0.5))
    slopes = torch.autograd.grad(loss, list(net.parameters()))
    ours = torch.cat([slope.flatten() for slope in slopes])
    assert torch.equal(ours, mean_gradient(net, data, noise=1.3, clip=0.5, seed=5))
    plain = by_labels(net, data, Turn(Seed().generator(), 0.5)).detach()
    torch.testing.assert_close(loss.detach(), plain)


@pytest.mark.parametrize("name", NETS)
def test_without_noise_and_clipping_it_is_plain_training_by_labels(name: str) -> None:
    """Over two epochs of full batches, with the loop's momentum and decay."""
    data = data_for(name, 16)
    if data.targets.dim() == 2:
        data.targets.clamp_(min=0)  # all are asked: the mean of means is the mean of all
    given = brief(drawn(NETS[name]), data)
    ours, theirs = DPSGD(noise=0, clip=1e9).harden(given), Labels().harden(given)
    assert float((flat(theirs) - flat(given.student)).norm()) > 1e-2
    torch.testing.assert_close(flat(ours), flat(theirs), rtol=1e-4, atol=1e-5)


def test_a_short_last_batch_counts_its_examples_no_more_than_others() -> None:
    """Its sum is divided by the size of a full batch, and its noise is that of a full batch."""
    net, data = drawn(), images(9)
    objective = DPSGD(noise=0, clip=1e9).loss(brief(net, data))
    loss = objective(net, data.take(torch.arange(2)), Turn(Seed().generator(), 0.5))
    slopes = torch.autograd.grad(loss, list(net.parameters()))
    slope = torch.cat([s.flatten() for s in slopes])
    wanted = sum((own for _, own in loop(net, data)[:2]), torch.zeros(())) / 8
    torch.testing.assert_close(slope, wanted, rtol=1e-4, atol=1e-6)


def test_an_outlier_moves_the_student_by_no_more_than_clipping_allows() -> None:
    """Two data sets that differ in one example, a loud one: rate x 2 C / L apart after a step."""
    data, schedule = images(8), one_step(8)
    loud = Examples(data.ids, data.inputs.clone(), data.targets)
    loud.inputs[3] = 1e4 * (1 - loud.inputs[3])

    def apart(settings: DPSGD) -> float:
        students = [settings.harden(brief(drawn(), d, schedule)) for d in (data, loud)]
        return float((flat(students[0]) - flat(students[1])).norm())

    reach = rate_at(schedule, 0.5) * 2 * 0.5 / 8
    assert apart(DPSGD(clip=0.5)) <= reach * (1 + 1e-4)
    assert apart(DPSGD(clip=0.5)) > reach / 10
    assert apart(DPSGD(clip=1e9, noise=0)) > 100 * reach


@pytest.mark.parametrize("name", ["perceptron", "attention"])
def test_the_same_seed_gives_the_same_student_and_another_seed_another(name: str) -> None:
    net, data = drawn(NETS[name]), data_for(name, 20)
    before, state = weights_digest(net.state_dict()), torch.get_rng_state()
    first, again, other = (
        weights_digest(DPSGD().harden(brief(net, data, seed=seed)).state_dict())
        for seed in (1, 1, 2)
    )
    assert first == again != other
    assert weights_digest(net.state_dict()) == before
    assert torch.equal(torch.get_rng_state(), state), "it drew from the global generator"
    assert all(weight.grad is None and weight.requires_grad for weight in net.parameters())


def test_seeds_differ_in_their_noise_and_not_only_in_their_order() -> None:
    data = images(8)
    one, other = (DPSGD().harden(brief(drawn(), data, one_step(8), seed)) for seed in (1, 2))
    still = [DPSGD(noise=0).harden(brief(drawn(), data, one_step(8), seed)) for seed in (1, 2)]
    torch.testing.assert_close(flat(still[0]), flat(still[1]), rtol=1e-5, atol=1e-6)
    assert float((flat(one) - flat(other)).norm()) > 1e-2


def test_a_run_that_was_cut_off_ends_with_the_bits_of_an_undisturbed_one() -> None:
    given, notebook = brief(drawn(), images(20), Schedule(epochs=3, batch=8)), Notebook(1, 2)
    whole = weights_digest(DPSGD().harden(given).state_dict())
    with pytest.raises(Cut):
        DPSGD().harden(replace(given, progress=notebook))
    resumed = DPSGD().harden(replace(given, progress=notebook))
    assert weights_digest(resumed.state_dict()) == whole


def test_frozen_weights_stay_what_they_are() -> None:
    net = drawn()
    net.get_submodule("1").requires_grad_(False)
    student = DPSGD().harden(brief(net, images(8), one_step(8)))
    moved = [
        not torch.equal(a, b) for a, b in zip(student.parameters(), net.parameters(), strict=True)
    ]
    assert moved == [False, False, True, True]


def test_a_little_noise_leaves_something_to_learn() -> None:
    data = images(600)
    schedule = Schedule(epochs=6, batch=50, rate=0.5)
    student = DPSGD(noise=0.5).harden(brief(drawn(), data, schedule))
    with torch.inference_mode():
        right = student(data.inputs).argmax(1) == data.targets
    assert float(right.float().mean()) > 0.8


class Untouched(Silent):
    """Progress of a run that must never begin."""

    def load(self, key: str) -> dict[str, Any] | None:
        raise AssertionError("training began")


@pytest.mark.parametrize(
    ("net", "why"),
    [
        (lambda: Digits().student("plain", Seed()), "'stem_norm' normalises over the batch"),
        (lambda: nn.Sequential(nn.BatchNorm2d(1, track_running_stats=False)), "over the batch"),
        (lambda: nn.Sequential(nn.InstanceNorm2d(1, track_running_stats=True)), "over the batch"),
        (lambda: nn.Sequential(nn.Flatten(), nn.Dropout(0.1), nn.Linear(64, 10)), "dropout is 0"),
    ],
    ids=["our residual network", "batch normalisation", "running statistics", "dropout"],
)
def test_what_has_no_gradient_by_example_is_refused_before_training(
    net: Callable[[], nn.Module], why: str
) -> None:
    given = replace(brief(net(), images(8)), progress=Untouched())
    with pytest.raises(BadModel, match=why):
        DPSGD().harden(given)


@pytest.mark.parametrize(
    "wrong", [{"noise": -0.1}, {"noise": math.nan}, {"clip": 0.0}, {"clip": math.inf}, {"chunk": 0}]
)
def test_impossible_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadSetting):
        DPSGD(**wrong)


# The accountant, which is an extra.


def spent(noise: float, batch: int, count: int, steps: int, delta: float = 1e-5) -> float:
    pytest.importorskip("opacus")
    from robustbench_kd.integrations.opacus import epsilon

    return epsilon(noise, batch, count, steps, delta)


@pytest.mark.parametrize(("noise", "wanted"), [(1.19, 1.0), (0.70, 4.0), (0.55, 8.0)])
def test_epsilon_is_what_the_library_was_measured_at(noise: float, wanted: float) -> None:
    assert spent(noise, 64, 8000, 600) == pytest.approx(wanted, rel=0.05)
    assert spent(noise * 1.05, 64, 8000, 600) < wanted < spent(noise * 0.95, 64, 8000, 600)


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
    ours = spent(noise, 100, 100, 1)
    assert high <= ours <= 1.25 * high + 0.05


def test_epsilon_falls_with_noise_and_grows_with_steps_and_share() -> None:
    by_noise = [spent(noise, 64, 8000, 600) for noise in (0.0, 0.01, 0.1, 0.5, 1, 5, 50, 1000)]
    assert by_noise[0] == math.inf
    assert by_noise == sorted(set(by_noise), reverse=True)
    by_steps = [spent(0.7, 64, 8000, steps) for steps in (1, 10, 100, 1000, 10000)]
    by_share = [spent(0.7, batch, 8000, 600) for batch in (1, 8, 64, 512, 8000)]
    for rising in (by_steps, by_share):
        assert rising == sorted(set(rising))


def test_a_schedule_spends_what_its_steps_spend() -> None:
    """Five epochs of 120 batches, of which the last may be short, are 600 steps."""
    assert DPSGD().nominal_epsilon(Schedule(epochs=5, batch=64), 7680) == spent(0.7, 64, 7680, 600)
    assert DPSGD().nominal_epsilon(AdamW(epochs=5, batch=64), 7650) == spent(0.7, 64, 7650, 600)
    assert DPSGD().nominal_epsilon(Schedule(epochs=3, batch=64), 10) == spent(0.7, 10, 10, 3)


@pytest.mark.parametrize(
    "wrong",
    [(-1.0, 1, 2, 1, 0.1), (1.0, 3, 2, 1, 0.1), (1.0, 1, 2, 0, 0.1), (1.0, 1, 2, 1, 0.0)],
)
def test_figures_that_no_training_has_are_refused(wrong: Any) -> None:
    with pytest.raises(BadSetting, match="an accountant needs"):
        spent(*wrong)


def test_without_the_library_one_sentence_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    bridge = "robustbench_kd.integrations.opacus"
    for module in {name for name in sys.modules if name.split(".")[0] == "opacus"} | {"opacus"}:
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(sys.modules, bridge, raising=False)
    with pytest.raises(BrokenPlugin, match=r"pip install 'robustbench-kd\[dp\]'"):
        importlib.import_module(bridge)
    with pytest.raises(BrokenPlugin, match=r"pip install 'robustbench-kd\[dp\]'"):
        DPSGD().nominal_epsilon(Schedule(epochs=1), 100)
