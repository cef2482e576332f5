"""Repairs of a given network, and the parts that they are made of."""

from __future__ import annotations

import copy
import dataclasses
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustbench_kd.core.config import Budget, Schedule
from robustbench_kd.core.errors import BadModel, BadSetting, MissingData
from robustbench_kd.core.protocols import Brief
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.types import Examples
from robustbench_kd.defenses.distillation import Distillation
from robustbench_kd.defenses.fine_pruning import FinePruning, hits
from robustbench_kd.defenses.fine_tuning import FineTuning
from robustbench_kd.defenses.nad import NAD
from robustbench_kd.defenses.self_distillation import SelfDistillation
from robustbench_kd.models.feature_extraction import stages, tap
from robustbench_kd.models.pruning import activity, silence, silenced
from robustbench_kd.models.resnet import Block, SmallResNet
from robustbench_kd.models.statistics import weights_digest
from robustbench_kd.ops.attention_transfer import attention, attention_distance
from robustbench_kd.ops.augmentation import shifted
from robustbench_kd.scenarios._image_classification import nothing
from robustbench_kd.scenarios.digits import Digits
from robustbench_kd.training.fine_tuning import fine_tune
from robustbench_kd.training.objectives import by_labels
from robustbench_kd.training.trainer import Turn, fit

REPAIRS = (FineTuning, FinePruning, NAD)
DYING = [
    f"stages.1.{norm}.{value}"
    for norm in ("second_norm", "shortcut.1")
    for value in ("weight", "bias")
]


def images(first: int = 0, count: int = 64) -> Examples:
    return Digits().splits(Seed(), whole=True).train.take(torch.arange(first, first + count))


def network(name: str = "resnet-4-8") -> SmallResNet:
    net = Digits().student(name, Seed() / name)
    assert isinstance(net, SmallResNet)
    return net


def turn() -> Turn:
    return Turn(Seed().generator(), 0.0)


def brief(given: nn.Module, **changes: Any) -> Brief:
    """A network to mend and 64 trusted digits; nothing else in it may matter."""
    plain = Brief(
        data=nothing(images()),
        teachers={"given": given.eval().requires_grad_(False)},
        student=nn.Identity(),
        budget=Budget("linf", 0.1),
        schedule=Schedule(epochs=1),
        seed=Seed() / "repair",
        trusted=images(),
    )
    return dataclasses.replace(plain, **changes)


def learned(net: nn.Module) -> nn.Module:
    """The network after a few seconds with 640 digits."""
    return fit(net, images(0, 640), by_labels, Schedule(epochs=6, batch=32), Seed())


def slope(value: Tensor, net: nn.Module) -> Tensor:
    found = torch.autograd.grad(value, list(net.parameters()), allow_unused=True)
    return torch.cat([g.flatten() for g in found if g is not None])


def hooks(net: nn.Module) -> int:
    return sum(len(module._forward_hooks) for module in net.modules())


# Attention maps.


def test_an_attention_map_is_the_sum_of_powers_divided_by_its_length() -> None:
    """Channels (1, 2; 0, -3) and (-2, 0; 0, 1): the sums of squares are 5, 4, 0, 10."""
    layer = torch.tensor([[[[1.0, 2.0], [0.0, -3.0]], [[-2.0, 0.0], [0.0, 1.0]]]])
    wanted = torch.tensor([[5.0, 4.0, 0.0, 10.0]]) / math.sqrt(25 + 16 + 100)
    torch.testing.assert_close(attention(layer), wanted)
    sums = torch.tensor([[3.0, 2.0, 0.0, 4.0]]) / math.sqrt(9 + 4 + 16)
    torch.testing.assert_close(attention(layer, power=1.0), sums)


def test_the_distance_of_two_maps_is_the_mean_of_their_squared_differences() -> None:
    """(3, 4) / 5 and (1, 0): differences of -0.4 and 0.8, and (0.16 + 0.64) / 2 = 0.4."""
    one = torch.tensor([3.0, 4.0]).sqrt().view(1, 1, 1, 2)
    other = torch.tensor([[2.0, 0.0], [-2.0, 0.0]]).view(1, 2, 1, 2)
    torch.testing.assert_close(attention_distance(one, other), torch.tensor([0.4]))


def test_a_map_does_not_change_with_the_scale_and_bears_a_layer_of_zeros() -> None:
    layer = torch.randn(3, 4, 5, 5, generator=Seed().generator())
    torch.testing.assert_close(attention(7 * layer), attention(layer))
    dead = torch.zeros(2, 4, 5, 5, requires_grad=True)
    far = attention_distance(dead, layer[:2]).sum()
    assert torch.equal(torch.autograd.grad(far, dead)[0], torch.zeros_like(dead))


# Taps.


def test_taps_read_what_leaves_each_stage() -> None:
    net, x = network("resnet-4-8-16x2").eval(), images().inputs[:5]
    answers, seen = tap(net, x)
    assert torch.equal(answers, net(x))
    assert list(seen) == ["stage1", "stage2", "stage3"]
    assert [tuple(a.shape[1:]) for a in seen.values()] == [(4, 8, 8), (8, 4, 4), (16, 2, 2)]
    torch.testing.assert_close(net.head(seen["stage3"].mean((2, 3))), answers)
    assert [len(blocks) for blocks in stages(net)] == [2, 2, 2]


def test_taps_read_the_stages_of_an_elastic_network_as_deep_as_it_is_now() -> None:
    net, x = Digits().student("elastic-8-16", Seed()).eval(), images().inputs[:5]
    assert [tuple(a.shape[1:]) for a in tap(net, x)[1].values()] == [(8, 8, 8), (16, 4, 4)]
    space: Any = net.space
    form = next(f for f in space.forms() if f.depths == (1, 1) and f.widths != space.widest)
    net.active = form
    answers, seen = tap(net, x)
    assert [a.shape[1] for a in seen.values()] == list(form.widths)
    assert torch.equal(answers, net(x))


def test_what_taps_read_is_tied_to_the_weights_before_it_and_to_no_others() -> None:
    net = network()
    seen = tap(net, images().inputs[:5])[1]["stage1"].sum()
    gradients = torch.autograd.grad(seen, [net.stem.weight, net.head.weight], allow_unused=True)
    assert gradients[0] is not None
    assert float(gradients[0].norm()) > 0
    assert gradients[1] is None


def test_taps_leave_no_hook_behind_even_when_the_pass_fails() -> None:
    net = network()
    tap(net, images().inputs[:5])
    assert hooks(net) == 0
    net.head = nn.Linear(3, 10)  # fits no features
    with pytest.raises(RuntimeError):
        tap(net, images().inputs[:5])
    assert hooks(net) == 0


def test_two_networks_that_are_read_in_turn_do_not_see_each_other() -> None:
    one, other, x = network().eval(), network("resnet-6-8").eval(), images().inputs[:5]
    _, first = tap(one, x)
    kept = first["stage2"].clone()
    _, second = tap(other, 1 - x)
    assert torch.equal(first["stage2"], kept)
    assert not torch.equal(first["stage2"], second["stage2"])


def test_a_network_without_stages_is_refused_in_one_sentence() -> None:
    bare = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    with pytest.raises(BadModel, match="Sequential has no stages to read"):
        tap(bare, images().inputs)
    with pytest.raises(BadModel, match="has no stages"):
        NAD().harden(brief(bare))
    with pytest.raises(BadModel, match="has no stages"):
        FinePruning().harden(brief(bare))


# Shifts.


def test_a_shift_moves_each_image_as_a_whole_and_lets_black_in() -> None:
    x = torch.rand(200, 2, 5, 6, generator=Seed().generator()) + 0.1
    z = shifted(x, 1, Seed().generator())
    assert z.shape == x.shape
    moves = set()
    for image, moved in zip(x, z, strict=True):
        padded = F.pad(image, (1, 1, 1, 1))
        fits = [
            (down, right)
            for down in range(3)
            for right in range(3)
            if torch.equal(moved, padded[:, down : down + 5, right : right + 6])
        ]
        assert len(fits) == 1
        moves.update(fits)
    assert len(moves) == 9, "every move is drawn"
    assert torch.equal(shifted(x, 0, Seed().generator()), x)
    assert torch.equal(shifted(x, 1, Seed().generator()), z)
    assert not torch.equal(shifted(x, 1, (Seed() / "other").generator()), z)


def test_the_loss_sees_moved_images_and_none_beyond_the_shift() -> None:
    spy: list[Tensor] = []

    def objective(net: nn.Module, batch: Examples, turn: Turn) -> Tensor:
        spy.append(batch.inputs)
        return by_labels(net, batch, turn)

    data, once = images(), Schedule(epochs=1, batch=64)
    fine_tune(network(), data, once, Seed(), shift=0, objective=objective)
    fine_tune(network(), data, once, Seed(), shift=1, objective=objective)
    still, moved = spy
    assert torch.equal(still.sum((1, 2, 3)).sort().values, data.inputs.sum((1, 2, 3)).sort().values)
    assert not torch.equal(still, moved)
    assert torch.equal(shifted(still, 1, (Seed() / "epoch" / 0 / "noise").generator()), moved)


# Pruning.


def test_the_mean_activity_of_channels_does_not_depend_on_the_chunks() -> None:
    net, x = network().eval(), images().inputs
    wanted = tap(net, x)[1]["stage2"].mean((0, 2, 3))
    torch.testing.assert_close(activity(net, x), wanted)
    torch.testing.assert_close(activity(net, x, chunk=7), wanted)


@pytest.mark.parametrize("name", ["resnet-4-8", "resnet-4-8x3", "resnet-6", "resnet-6x2"])
def test_a_silenced_channel_is_zero_on_any_image_and_stays_so_in_training(name: str) -> None:
    """Also where a stage has many blocks, or a shortcut that comes straight from the stem."""
    net, gone = network(name), torch.tensor([0, 3])
    noise = (Seed() / "shifts").generator()
    for norm in net.modules():
        if isinstance(norm, nn.BatchNorm2d):  # a fresh one shifts nothing, a trained one does
            norm.bias.data.copy_(torch.rand(norm.num_features, generator=noise) / 2 + 0.1)
    assert silenced(net).tolist() == []
    silence(net, gone)
    assert silenced(net).tolist() == [0, 3]
    rate = Schedule(epochs=3, batch=16, decay=0.05)
    tuned = fine_tune(net, images(), rate, Seed(), shift=1)
    for part in (net, tuned):
        last = list(
            tap(part, 5 * torch.randn(40, 1, 8, 8, generator=Seed().generator()))[1].values()
        )
        assert torch.equal(last[-1][:, gone], torch.zeros_like(last[-1][:, gone]))
        assert int((last[-1].abs().sum((0, 2, 3)) == 0).sum()) == 2, "the others are alive"
    assert silenced(tuned).tolist() == [0, 3]
    assert weights_digest(tuned.state_dict()) != weights_digest(net.state_dict())


def test_a_silenced_channel_changes_the_answers_as_if_the_head_did_not_read_it() -> None:
    net, x = network().eval(), images().inputs
    twin = copy.deepcopy(net)
    silence(twin, torch.tensor([2, 5]))
    with torch.no_grad():
        net.head.weight[:, [2, 5]] = 0
    torch.testing.assert_close(twin(x), net(x))


def test_only_small_residual_networks_are_pruned() -> None:
    with pytest.raises(BadModel, match="ElasticResNet is none"):
        silence(Digits().student("elastic-8-16", Seed()), torch.tensor([0]))


def dormant(channel: int) -> SmallResNet:
    """A network that knows its digits, with one channel asleep on all of them."""
    net = learned(network())
    assert isinstance(net, SmallResNet)
    last = stages(net)[-1][-1]
    assert isinstance(last, Block)
    with torch.no_grad():
        last.second_norm.bias[channel] = -1000
    return net


def test_a_dormant_channel_is_the_first_to_go() -> None:
    """Without any tolerance: it goes nevertheless, since nothing depends on it."""
    net = dormant(5)
    pruned = FinePruning(tolerance=0.0).pruned(net, images(), Seed())
    gone = silenced(pruned).tolist()
    assert 5 in gone
    mended = FinePruning(tolerance=0.0, epochs=2).harden(brief(net))
    assert 5 in silenced(mended).tolist()


def test_channels_go_in_order_of_activity_until_the_tolerance_is_spent() -> None:
    """Counted by hand: the channels are removed one by one, in a second way."""
    net, clean, spent = learned(network("resnet-4-12")), images(640, 200), []
    rows = torch.randperm(200, generator=Seed().generator())
    judge, seen = clean.take(rows[:60]), clean.take(rows[60:])
    with torch.no_grad():
        order = tap(net, seen.inputs)[1]["stage2"].mean((0, 2, 3)).argsort()
        features = tap(net, judge.inputs)[1]["stage2"].mean((2, 3))
        for count in range(12):
            kept = features.clone()
            kept[:, order[:count]] = 0
            said: Tensor = net.get_submodule("head")(kept)
            spent.append(int((said.argmax(1) == judge.targets).sum()))
    for tolerance in (0.0, 0.05, 0.2, 0.5):
        bad = [n for n, right in enumerate(spent) if right < spent[0] - 60 * tolerance - 1e-9]
        wanted = bad[0] - 1 if bad else 11
        pruned = FinePruning(tolerance=tolerance, hold=0.3).pruned(net, clean, Seed())
        assert silenced(pruned).tolist() == order[:wanted].sort().values.tolist()
        assert hits(net, judge) - hits(pruned, judge) <= 60 * tolerance + 1e-6
    assert spent[0] > 50 > spent[-1], "the network is right, until it has lost its channels"
    every = FinePruning(tolerance=1.0).pruned(net, clean, Seed())
    assert len(silenced(every)) == 11, "one channel is left"


def test_a_single_trusted_image_cannot_be_held_out() -> None:
    with pytest.raises(MissingData, match="at least 2"):
        FinePruning().harden(brief(network(), trusted=images(count=1)))
    FinePruning(epochs=1, hold=0.99).harden(brief(network(), trusted=images(count=2)))


# Repairs.


@pytest.mark.parametrize("repair", REPAIRS)
def test_a_repair_needs_trusted_images(repair: Any) -> None:
    for none in (None, nothing(images())):
        with pytest.raises(MissingData, match="trusted images"):
            repair().harden(brief(network(), trusted=none))


@pytest.mark.parametrize("repair", REPAIRS)
def test_a_repair_starts_from_the_given_weights(repair: Any) -> None:
    """At a rate next to nothing it ends where it began, but for the channels that were pruned."""
    net = dormant(5)
    settings = {"tolerance": 0.0} if repair is FinePruning else {}
    mended = repair(rate=1e-9, epochs=1, **settings).harden(brief(net))
    gone, moved = silenced(mended), dict(mended.named_parameters())
    assert (len(gone) > 0) == (repair is FinePruning)
    for name, weight in net.named_parameters():
        ours, theirs = moved[name].detach().clone(), weight.detach().clone()
        if name in DYING:
            assert float(ours[gone].abs().sum()) == 0.0
            ours[gone] = theirs[gone] = 0.0
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)


@pytest.mark.parametrize("repair", REPAIRS)
def test_a_repair_is_the_same_whatever_the_suspect_data_hold(repair: Any) -> None:
    """NaN in place of the images, wrong labels, no student worth the name, no schedule to go by."""
    net, bad = network(), images(200, 30)
    bad = Examples(bad.ids, torch.full_like(bad.inputs, torch.nan), (bad.targets + 1) % 10)
    other = brief(
        net, data=bad, validation=bad, told="a secret", schedule=Schedule(epochs=9, rate=3.0)
    )
    once, again = (repair(epochs=1).harden(b) for b in (brief(net), other))
    assert weights_digest(once.state_dict()) == weights_digest(again.state_dict())


# NAD.


def test_nad_is_the_formula_written_once_more() -> None:
    student, teacher, batch = network("resnet-4-8-8"), network("resnet-4-8-8x2"), images()
    twin = copy.deepcopy(student)
    defense = NAD(early=3.0, middle=5.0, late=7.0)
    ours = defense.loss(teacher.eval())(student, batch, turn())
    x = batch.inputs
    wanted = F.cross_entropy(twin(x), batch.targets)
    for stage, beta in (("stage1", 3), ("stage2", 5), ("stage3", 7)):
        a, b = (tap(net, x)[1][stage].square().sum(1).flatten(1) for net in (twin, teacher))
        wanted = wanted + beta * F.mse_loss(
            a / a.norm(dim=1, keepdim=True), b / b.norm(dim=1, keepdim=True)
        )
    torch.testing.assert_close(ours, wanted)
    torch.testing.assert_close(slope(ours, student), slope(wanted, twin), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("term", ["early", "middle", "late"])
def test_each_attention_term_of_nad_teaches_by_itself(term: str) -> None:
    none: dict[str, Any] = {"early": 0.0, "middle": 0.0, "late": 0.0}
    teacher = network("resnet-4-8-8x2")

    def gradient(**betas: Any) -> Tensor:
        student = network("resnet-4-8-8")
        loss = NAD(**{**none, **betas}).loss(teacher.eval())(student, images(), turn())
        full = torch.autograd.grad(loss, list(student.parameters()))
        return torch.cat([g.flatten() for g in full])

    labels = gradient()
    assert float(labels.norm()) > 1e-3
    alone = gradient(**{term: 1e4}) - labels
    assert float(alone.norm()) > 1e-2 * float(labels.norm())


def test_no_gradient_reaches_the_teacher_of_nad() -> None:
    teacher = network().eval()
    NAD().loss(teacher)(network("resnet-6-8"), images(), turn()).backward()
    assert all(weight.grad is None for weight in teacher.parameters())


def test_the_last_weight_of_nad_belongs_to_the_last_stage_of_any_network() -> None:
    teacher, batch = network("resnet-4-8x2").eval(), images()

    def value(**betas: Any) -> float:
        loss = NAD(**betas).loss(teacher)(network("resnet-4-8"), batch, turn())
        return float(loss.detach())

    assert value(early=0.0) == value(early=1e5), "two stages: the first weight is not used"
    assert value(middle=0.0) < value(middle=1e5)
    assert value(late=0.0) < value(late=1e5)


def test_the_teacher_of_nad_is_fine_tuned_by_the_function_of_fine_tuning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[tuple[nn.Module, Schedule, Seed, Any]] = []

    def spy(net: nn.Module, data: Examples, schedule: Schedule, seed: Seed, **rest: Any) -> Any:
        calls.append((net, schedule, seed, rest.get("objective")))
        return fine_tune(net, data, schedule, seed, **rest)

    monkeypatch.setattr("robustbench_kd.defenses.nad.fine_tune", spy)
    given = network()
    NAD(teaching=2, epochs=1).harden(brief(given))
    teacher, student = calls
    assert teacher[0] is student[0] is given
    assert (teacher[1].epochs, student[1].epochs) == (2, 1)
    assert teacher[2] != student[2]
    assert teacher[3] is None, "by labels alone"


def test_without_attention_nad_is_fine_tuning_bit_for_bit() -> None:
    """Both name the seed of the student alike, so they see the same batches and the same shifts."""
    net = network()
    bare = NAD(early=0.0, middle=0.0, late=0.0, epochs=2, teaching=1).harden(brief(net))
    tuned = FineTuning(epochs=2).harden(brief(net))
    assert weights_digest(bare.state_dict()) == weights_digest(tuned.state_dict())


def test_pruning_without_tolerance_of_a_network_that_needs_all_channels_is_fine_tuning() -> None:
    net = learned(network("resnet-4-3"))
    pruned = FinePruning(tolerance=0.0, hold=0.5, epochs=1).harden(brief(net))
    assert len(silenced(pruned)) == 0
    tuned = FineTuning(epochs=1).harden(brief(net))
    assert weights_digest(pruned.state_dict()) == weights_digest(tuned.state_dict())


@pytest.mark.parametrize(
    ("defense", "settings"),
    [
        (FineTuning, {"epochs": 0}),
        (FineTuning, {"rate": 0.0}),
        (FineTuning, {"shift": 9}),
        (FinePruning, {"tolerance": 1.1}),
        (FinePruning, {"hold": 1.0}),
        (NAD, {"teaching": 0}),
        (NAD, {"power": 0.5}),
        (NAD, {"late": -1.0}),
        (SelfDistillation, {"alpha": 1.5}),
    ],
)
def test_settings_that_cannot_be_are_refused(defense: Any, settings: dict[str, float]) -> None:
    with pytest.raises(BadSetting):
        defense(**settings)


# Self-distillation.


def test_self_distillation_is_distillation_with_another_student() -> None:
    assert SelfDistillation.net == "teacher"
    assert Digits.nets["teacher"] in ("resnet-16-32",)
    teacher = network("resnet-4-8x2").eval().requires_grad_(False)
    given = brief(network(), data=images(), teachers={"clean": teacher}, trusted=None)
    values = []
    for recipe in (SelfDistillation(), Distillation("clean")):
        student = network()
        loss = recipe.loss(given)(student, images(), turn())
        values.append((loss.detach(), slope(loss, student)))
    assert torch.equal(values[0][0], values[1][0])
    assert torch.equal(values[0][1], values[1][1])


def test_labels_and_teacher_both_teach_the_student_of_self_distillation() -> None:
    teacher = network("resnet-4-8x2").eval().requires_grad_(False)
    given = brief(network(), data=images(), teachers={"clean": teacher}, trusted=None)
    slopes = []
    for alpha in (0.0, 1.0):
        student = network()
        slopes.append(
            slope(SelfDistillation(alpha=alpha).loss(given)(student, images(), turn()), student)
        )
    assert min(float(s.norm()) for s in slopes) > 1e-3
    assert float((slopes[0] - slopes[1]).norm()) > 1e-2 * float(slopes[0].norm())
