"""What every defense of the catalogue keeps to; a new file is under these laws at once."""

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
from robustbench_kd.core.protocols import Brief
from robustbench_kd.core.registry import board_of
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.types import Examples
from robustbench_kd.evaluation.fingerprints import defense_of, label_of
from robustbench_kd.models.statistics import weights_digest
from robustbench_kd.scenarios.digits import Digits

# Those that learn on texts or painters alone have laws of their own.
READERS = {
    name
    for name, entry in registry.entries("defenses").items()
    if "images" not in getattr(entry.load(), "media", ("images",))
}
NAMES = sorted(
    {
        *(set(registry.entries("defenses")) - READERS),
        *(text for board in ("digits-linf", "fashion-linf") for text in board_of(board).defenses),
    }
)
SMALL = {"plain": "resnet-4-8", "teacher": "resnet-4-8", "given": "resnet-4-8"}
COUNT, TRUSTED = 64, 48


def images() -> Examples:
    return Digits().splits(Seed(), whole=True).train.take(torch.arange(COUNT))


def vouched() -> Examples:
    """Other digits than those of the brief, which a repair may trust."""
    return Digits().splits(Seed(), whole=True).train.take(torch.arange(COUNT, COUNT + TRUSTED))


def stand_in(role: str) -> nn.Module:
    """A teacher for any role: drawn weights and statistics, loud opinions, frozen as in a run."""
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


def brief(defense: Any, seed: int = 0) -> Brief:
    """All that a defender may use, made small: 64 digits, one epoch, a tiny network.

    Teachers have the network of a small student of any kind, so that a copy of one is a student.
    """
    return Brief(
        data=images(),
        teachers={role: stand_in(role) for role in defense.needs},
        student=fresh(defense),
        budget=Budget("linf", 0.1),
        schedule=Schedule(epochs=1, batch=24),
        seed=Seed(seed) / defense.name,
        trusted=vouched() if repairs(defense) else None,
        validation=vouched() if chooses(defense) else None,
    )


def fresh(defense: Any) -> nn.Module:
    """A student of its kind; one without batch statistics where examples are told apart."""
    if defense.name != "dp-sgd":
        return Digits().student(SMALL.get(defense.net, defense.net), Seed() / "student")
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.GELU(), nn.Linear(16, 10))
    noise = (Seed() / "student").generator()
    for weight in net.parameters():
        weight.data = torch.randn(weight.shape, generator=noise) / 8
    return net


def chooses(defense: Any) -> bool:
    """Whether it searches a family for the best within limits, by images that no student saw."""
    return getattr(defense, "macs", None) is not None


def repairs(defense: Any) -> bool:
    """Whether it mends a network that it was given; such a one lives on trusted images."""
    return bool(defense.starts_from == "given")


def start_of(defense: Any, given: Brief) -> nn.Module:
    """The network whose weights the student had at first."""
    fresh = defense.starts_from == "fresh"
    return given.student if fresh else given.teachers[defense.starts_from]


def state(net: nn.Module) -> tuple[Any, ...]:
    """Everything about a network that a careless defense could change."""
    return (
        weights_digest(net.state_dict()),
        [module.training for module in net.modules()],
        [weight.requires_grad for weight in net.parameters()],
        [weight.grad is None for weight in net.parameters()],
    )


def copies(given: Brief) -> list[Tensor]:
    """All examples of a brief, as they are now."""
    parts = [part for part in (given.data, given.trusted) if part is not None]
    return [value.clone() for part in parts for value in (part.ids, part.inputs, part.targets)]


@pytest.mark.parametrize("name", registry.entries("defenses"))
def test_it_bears_the_name_of_its_file_and_states_source_and_formula(name: str) -> None:
    entry = registry.find("defenses", name).load()
    assert entry.name == name
    assert entry.source.strip()
    assert entry.formula.strip()
    assert entry.starts_from in ("fresh", *entry().needs)
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
    given = brief(defense)
    student, data = state(given.student), copies(given)
    teachers = {role: state(net) for role, net in given.teachers.items()}
    start = torch.get_rng_state()

    hardened = defense.harden(given)

    assert state(given.student) == student, "the student that was passed in has changed"
    assert {role: state(net) for role, net in given.teachers.items()} == teachers
    assert all(torch.equal(a, b) for a, b in zip(data, copies(given), strict=True))
    assert torch.equal(torch.get_rng_state(), start), "it drew from the global generator"

    assert not any(module.training for module in hardened.modules()), "not in eval mode"
    assert all(weight.requires_grad for weight in hardened.parameters()), "weights stay frozen"
    with torch.inference_mode():
        logits = hardened(given.data.inputs)
    assert logits.shape == (COUNT, 10)
    assert bool(torch.isfinite(logits).all())
    fresh = dict(start_of(defense, given).named_parameters())
    trained = dict(hardened.named_parameters())
    # A student that was cut from a family has its own names; the weights it shares were taught.
    still = [key for key in trained if key in fresh and torch.equal(fresh[key], trained[key])]
    # Who starts from a clean teacher may keep the features that it copies; not all of it, though.
    kept = defense.starts_from not in ("fresh", "given") and len(still) < len(trained)
    assert still == [] or kept, "these weights were never taught"


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_the_same_student_and_another_seed_another(name: str) -> None:
    defense = defense_of(name)
    with torch.random.fork_rng(devices=[]):
        once = weights_digest(defense.harden(brief(defense)).state_dict())
        torch.rand(17)
        again = weights_digest(defense.harden(brief(defense)).state_dict())
    assert once == again
    assert once != weights_digest(defense.harden(brief(defense, seed=1)).state_dict())


@pytest.mark.parametrize("name", [n for n in NAMES if repairs(defense_of(n))])
def test_a_repair_never_looks_at_the_data_that_may_be_poisoned(name: str) -> None:
    """NaN for images, one class for all, and no student: the mended network is the same."""
    defense = defense_of(name)
    plain = brief(defense)
    bad = Examples(
        plain.data.ids,
        torch.full_like(plain.data.inputs, torch.nan),
        torch.zeros_like(plain.data.targets),
    )
    blind = dataclasses.replace(plain, data=bad, validation=bad, student=nn.Identity())
    once, again = defense.harden(plain), defense.harden(blind)
    assert weights_digest(once.state_dict()) == weights_digest(again.state_dict())
