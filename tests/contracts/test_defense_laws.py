"""What every defense of the registry keeps to; a new file is under these laws at once."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robustbench_kd.core import options, registry
from robustbench_kd.core.config import Budget, Schedule
from robustbench_kd.core.errors import BadSetting
from robustbench_kd.core.protocols import TrainingContext
from robustbench_kd.core.registry import board_of
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.types import Examples
from robustbench_kd.evaluation.entries import defense_of, label_of
from robustbench_kd.models.statistics import weights_digest
from robustbench_kd.scenarios.digits import Digits

# Those for texts or text-to-image models alone have laws of their own.
OTHER_MODALITIES = {
    name
    for name, entry in registry.entries("defenses").items()
    if "images" not in getattr(entry.load(), "modalities", ("images",))
}
NAMES = sorted(
    {
        *(set(registry.entries("defenses")) - OTHER_MODALITIES),
        *(text for board in ("digits-linf", "fashion-linf") for text in board_of(board).defenses),
    }
)
SMALL = {"plain": "resnet-4-8", "teacher": "resnet-4-8", "given": "resnet-4-8"}
COUNT, TRUSTED = 64, 48


def images() -> Examples:
    return Digits().splits(Seed(), whole=True).train.take(torch.arange(COUNT))


def trusted() -> Examples:
    """Other digits than those of the training data, which a repair may trust."""
    return Digits().splits(Seed(), whole=True).train.take(torch.arange(COUNT, COUNT + TRUSTED))


def stand_in(role: str) -> nn.Module:
    """A teacher for any role: random weights and statistics, large logits, frozen as in a run."""
    net = Digits().student("resnet-4-8", Seed() / "teacher" / role)
    noise = (Seed() / "statistics" / role).generator()
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d):
            assert layer.running_mean is not None
            assert layer.running_var is not None
            layer.running_mean.copy_(torch.rand(layer.num_features, generator=noise) / 4)
            layer.running_var.copy_(torch.rand(layer.num_features, generator=noise) + 0.5)
        if isinstance(layer, nn.Linear):
            layer.weight.data.mul_(8)
    return net.eval().requires_grad_(False)


def context(defense: Any, seed: int = 0) -> TrainingContext:
    """All that a defender may use, made small: 64 digits, one epoch, a tiny network.

    Teachers have the network of a small student of any kind, so that a copy of one is a student.
    """
    return TrainingContext(
        data=images(),
        teachers={role: stand_in(role) for role in defense.teacher_roles},
        student=fresh(defense),
        budget=Budget("linf", 0.1),
        schedule=Schedule(epochs=1, batch=24),
        seed=Seed(seed) / defense.name,
        trusted=trusted() if repairs(defense) else None,
        validation=trusted() if chooses(defense) else None,
    )


def fresh(defense: Any) -> nn.Module:
    """A student of its kind; one without batch statistics where gradients are per example."""
    if defense.name != "dp-sgd":
        return Digits().student(SMALL.get(defense.net, defense.net), Seed() / "student")
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.GELU(), nn.Linear(16, 10))
    noise = (Seed() / "student").generator()
    for weight in net.parameters():
        weight.data = torch.randn(weight.shape, generator=noise) / 8
    return net


def chooses(defense: Any) -> bool:
    """Whether it searches for the best subnet within limits, on validation images."""
    return getattr(defense, "macs", None) is not None


def repairs(defense: Any) -> bool:
    """Whether it repairs a given network; such a defense uses trusted images only."""
    return bool(defense.starts_from == "given")


def start_of(defense: Any, given: TrainingContext) -> nn.Module:
    """The network whose weights the student had at first."""
    is_fresh = defense.starts_from == "fresh"
    return given.student if is_fresh else given.teachers[defense.starts_from]


def state(net: nn.Module) -> tuple[Any, ...]:
    """Everything about a network that a careless defense could change."""
    return (
        weights_digest(net.state_dict()),
        [module.training for module in net.modules()],
        [weight.requires_grad for weight in net.parameters()],
        [weight.grad is None for weight in net.parameters()],
    )


def copies(given: TrainingContext) -> list[Tensor]:
    """All examples of a context, as they are now."""
    parts = [part for part in (given.data, given.trusted) if part is not None]
    return [value.clone() for part in parts for value in (part.ids, part.inputs, part.targets)]


@pytest.mark.parametrize("name", registry.entries("defenses"))
def test_it_bears_the_name_of_its_file_and_states_source_and_formula(name: str) -> None:
    entry = registry.find("defenses", name).load()
    assert entry.name == name
    assert entry.source.strip()
    assert entry.formula.strip()
    assert entry.starts_from in ("fresh", *entry().teacher_roles)
    assert entry.net.strip()
    assert registry.find("defenses", name).summary()
    assert (entry.__doc__ or "").strip()


@pytest.mark.parametrize("name", NAMES)
def test_its_settings_are_frozen_survive_json_and_are_typed_as_they_are_read(name: str) -> None:
    defense: Any = defense_of(name)
    for field in dataclasses.fields(defense):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(defense, field.name, getattr(defense, field.name))
    written = options.written(defense)
    assert json.loads(json.dumps(written, allow_nan=False)) == written
    assert type(defense)(**written) == defense
    assert defense_of(label_of(defense)) == defense


@pytest.mark.parametrize("name", registry.entries("defenses"))
def test_impossible_settings_are_refused(name: str) -> None:
    """Below any range that a share, a weight, a temperature or a number of steps can have."""
    entry = registry.find("defenses", name).load()
    for field in dataclasses.fields(entry):
        if isinstance(field.default, int | float) and not isinstance(field.default, bool):
            with pytest.raises(BadSetting):
                options.configure(entry, {field.name: "-1"})
    with pytest.raises(BadSetting, match="no setting 'colour'"):
        options.configure(entry, {"colour": "red"})


@pytest.mark.parametrize("name", NAMES)
def test_it_trains_a_student_and_leaves_everything_else_alone(name: str) -> None:
    defense = defense_of(name)
    given = context(defense)
    student, data = state(given.student), copies(given)
    teachers = {role: state(net) for role, net in given.teachers.items()}
    state_before = torch.get_rng_state()

    trained = defense.train(given)

    assert state(given.student) == student, "the student that was passed in has changed"
    assert {role: state(net) for role, net in given.teachers.items()} == teachers
    assert all(torch.equal(a, b) for a, b in zip(data, copies(given), strict=True))
    assert torch.equal(torch.get_rng_state(), state_before), "it drew from the global generator"

    assert not any(module.training for module in trained.modules()), "not in eval mode"
    assert all(weight.requires_grad for weight in trained.parameters()), "weights stay frozen"
    with torch.inference_mode():
        logits = trained(given.data.inputs)
    assert logits.shape == (COUNT, 10)
    assert bool(torch.isfinite(logits).all())
    start = dict(start_of(defense, given).named_parameters())
    weights = dict(trained.named_parameters())
    # A subnet names its weights otherwise than its supernet; those of the same name were trained.
    unchanged = [key for key in weights if key in start and torch.equal(start[key], weights[key])]
    # A student that starts from a clean teacher may keep some of its weights, but not all.
    transfers = defense.starts_from not in ("fresh", "given") and len(unchanged) < len(weights)
    assert unchanged == [] or transfers, "these weights were never trained"


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_the_same_student_and_another_seed_another(name: str) -> None:
    defense = defense_of(name)
    with torch.random.fork_rng(devices=[]):
        once = weights_digest(defense.train(context(defense)).state_dict())
        torch.rand(17)
        again = weights_digest(defense.train(context(defense)).state_dict())
    assert once == again
    assert once != weights_digest(defense.train(context(defense, seed=1)).state_dict())


@pytest.mark.parametrize("name", [n for n in NAMES if repairs(defense_of(n))])
def test_a_repair_never_looks_at_the_data_that_may_be_poisoned(name: str) -> None:
    """NaN for images, one class for all, and no student: the repaired network is the same."""
    defense = defense_of(name)
    plain = context(defense)
    bad = Examples(
        plain.data.ids,
        torch.full_like(plain.data.inputs, torch.nan),
        torch.zeros_like(plain.data.targets),
    )
    blind = dataclasses.replace(plain, data=bad, validation=bad, student=nn.Identity())
    once, again = defense.train(plain), defense.train(blind)
    assert weights_digest(once.state_dict()) == weights_digest(again.state_dict())
