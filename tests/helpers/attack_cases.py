"""Every registered attack at little cost, with a small scenario and model of its modality."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from small_attacks import TEST_TIME, TRAINING_TIME, digits
from torch import nn

from robustbench_kd.core import registry
from robustbench_kd.core.protocols import LanguageModel, Scenario
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.types import Splits
from robustbench_kd.evaluation.attack_runner import AttackRunner
from robustbench_kd.models.text_to_image import TextToImageModel
from robustbench_kd.scenarios.digits import Digits

COUNT = 12  # test images
COSTS = {"per_level": 3, "repetitions": "0+2", "shadows": 0, "beam": 2, "draws": 1, "suffix": 4}
GENERATED = 3  # images a model
CLASSES_OF_LIBRARIES = {"art": "art:FastGradientMethod", "torchattacks": "torchattacks:FGSM"}


@dataclass(frozen=True)
class AttackCase:
    """An attack, ready to be run on a model.

    Attributes:
        runner: with what the attack needs from poisoned training data.
    """

    attack: Any
    net: nn.Module
    runner: AttackRunner


def attack_case(name: str) -> AttackCase:
    """A registered attack, by its name."""
    attack = _cheap(name)
    scenario, data, net = _setting(attack)
    if attack.threat.capability == "test_data":
        return AttackCase(attack, net, AttackRunner(scenario, data, 0))
    poisoned = attack.poison(data, Seed())
    inserted = {int(i): 1 for i in poisoned.attack_state.get("planted", ())}
    states = {name: poisoned.attack_state}
    runner = AttackRunner(scenario, data, 0, states=states, repetitions=inserted, poison="a key")
    return AttackCase(attack, net, runner)


def _cheap(name: str) -> Any:
    if name in CLASSES_OF_LIBRARIES:
        pytest.importorskip(name)
        return registry.configured("attacks", CLASSES_OF_LIBRARIES[name], eps=0.1, norm="linf")
    attack = registry.find("attacks", name).load()()
    names = {field.name for field in fields(attack)}
    if attack.requires is TextToImageModel:
        return replace(attack, count=GENERATED)
    usual = TEST_TIME if attack.threat.capability == "test_data" else TRAINING_TIME
    costs: Mapping[str, Any] = {**usual, **COSTS}
    if issubclass(attack.requires, LanguageModel):
        costs = {**costs, "rate": 0.1}
    return replace(attack, **{field: cost for field, cost in costs.items() if field in names})


def _setting(attack: Any) -> tuple[Scenario, Splits, nn.Module]:
    if attack.requires is TextToImageModel:
        return _text_to_image()
    if attack.requires is LanguageModel:
        return _instructions() if attack.name == "bias-injection" else _private_text()
    return Digits(), digits(400, COUNT), Digits().student("resnet-4", Seed())


def _text_to_image() -> tuple[Scenario, Splits, nn.Module]:
    from small_text_to_image import small_network
    from text_to_image_pairs import SCENARIO, pairs

    return SCENARIO, pairs(), small_network()


@cache
def _private_text() -> tuple[Scenario, Splits, nn.Module]:
    from robustbench_kd.scenarios.private_text import PrivateText

    scenario, data, net = _language(PrivateText)
    assert data.reserve is not None
    assert data.audit is not None
    few = torch.arange(4)
    return scenario, replace(data, reserve=data.reserve.take(few), audit=data.audit.take(few)), net


@cache
def _instructions() -> tuple[Scenario, Splits, nn.Module]:
    from robustbench_kd.scenarios import instructions

    with pytest.MonkeyPatch.context() as patch:
        for split in ("TRAIN_ROWS", "VALIDATION_ROWS", "TEST_ROWS"):
            patch.setattr(instructions, split, 4)
        scenario, data, net = _language(instructions.Instructions)
    return scenario, replace(data, test=data.test.take(torch.arange(4))), net


def _language(entry: Callable[..., Any]) -> tuple[Scenario, Splits, nn.Module]:
    """A scenario of a tiny text and language model, read from files that are then removed."""
    pytest.importorskip("transformers")
    from speech import checkpoint, corpus

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "text.txt").write_text(corpus())
        path = checkpoint(Path(folder) / "model")
        scenario = entry(str(Path(folder) / "text.txt"), path, path)
        data = scenario.splits(Seed(), whole=True)
        net = scenario.student("plain", Seed())
        scenario.target_model(net)
    return scenario, data, net
