"""What every scenario of the registry keeps to; a new file is under these laws at once."""

from __future__ import annotations

import urllib.error
import urllib.request
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from robustbench_kd.core import registry
from robustbench_kd.core.config import Schedule
from robustbench_kd.core.errors import BadSetting, MissingData
from robustbench_kd.core.protocols import Scenario, Silent, TargetModel
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.types import Examples, Splits
from robustbench_kd.evaluation.entries import scenario_of
from robustbench_kd.models.statistics import weights_digest

NAMES = list(registry.entries("scenarios"))
TEXTS = ("private-text", "instructions")
IMAGES = [name for name in NAMES if name not in (*TEXTS, "text-to-image")]


@cache
def splits_of(name: str, seed: int = 0) -> Splits | str:
    """All of the data where it is on this machine, else the reason why it is not."""
    try:
        return scenario_of(name).splits(Seed(seed), whole=True)
    except MissingData as why:
        return str(why)


@pytest.fixture
def whole(name: str, monkeypatch: pytest.MonkeyPatch) -> Splits:
    """All of the data; nothing is downloaded for a test."""

    def refused(*_: Any, **__: Any) -> None:
        raise urllib.error.URLError("no downloads in tests")

    monkeypatch.setattr(urllib.request, "urlopen", refused)
    splits = splits_of(name)
    if isinstance(splits, str):
        pytest.skip(splits)
    return splits


def parts(splits: Splits) -> dict[str, Examples]:
    every = {
        "train": splits.train,
        "validation": splits.validation,
        "test": splits.test,
        "reserve": splits.reserve,
        "audit": splits.audit,
    }
    return {name: part for name, part in every.items() if part is not None}


def same(a: Examples, b: Examples) -> bool:
    pairs = [(a.ids, b.ids), (a.inputs, b.inputs), (a.targets, b.targets)]
    return all(torch.equal(x, y) for x, y in pairs)


def rows(examples: Examples) -> set[bytes]:
    """The inputs as bytes, to find the same one twice."""
    return {bytes(row) for row in examples.inputs.flatten(1).numpy()}


@pytest.mark.parametrize("name", NAMES)
def test_it_bears_the_name_of_its_file_and_names_its_networks(name: str) -> None:
    scenario = scenario_of(name)
    assert isinstance(scenario, Scenario)
    assert scenario.name == name
    assert scenario.dataset_digest
    assert {"plain", "teacher"} <= scenario.architectures.keys()
    assert all(isinstance(schedule, Schedule) for schedule in scenario.teacher_schedules.values())
    assert registry.find("scenarios", name).summary()


@pytest.mark.parametrize("name", NAMES)
def test_ids_are_unique_and_the_splits_share_no_image(name: str, whole: Splits) -> None:
    ids = torch.cat([part.ids for part in parts(whole).values()])
    assert len(ids.unique()) == len(ids)
    assert min(len(whole.train), len(whole.validation), len(whole.test)) > 0
    if len(ids) < 10_000:  # large sets hold real duplicates, and are used as they were published
        assert not rows(whole.test) & (rows(whole.train) | rows(whole.validation))


@pytest.mark.parametrize("name", IMAGES)
def test_inputs_are_in_zero_to_one_and_targets_are_classes(name: str, whole: Splits) -> None:
    scenario = scenario_of(name)
    net = scenario.student("plain", Seed()).eval()
    with torch.inference_mode():
        classes = net(whole.test.inputs[:2]).shape[1]
    for part in parts(whole).values():
        assert len(part.ids) == len(part.inputs) == len(part.targets)
        assert part.inputs.dtype == torch.float32
        assert part.targets.dtype == torch.int64
        assert 0 <= float(part.inputs.min()) < 0.5 < float(part.inputs.max()) <= 1
        assert part.targets.unique().tolist() == list(range(classes))


@pytest.mark.parametrize("name", NAMES)
def test_the_packaged_slice_is_the_first_of_the_whole_test_set(name: str, whole: Splits) -> None:
    packaged = scenario_of(name).splits(Seed(), whole=False)
    count = len(packaged.test)
    assert count > 0
    assert same(packaged.test, whole.test.take(torch.arange(count)))
    assert len(packaged.train) == 0
    assert packaged.train.inputs.shape[1:] == whole.train.inputs.shape[1:]


@pytest.mark.parametrize("name", NAMES)
def test_the_test_set_does_not_depend_on_the_seed(name: str) -> None:
    """The same test images for every seed, so that seeds can be paired."""
    scenario, state = scenario_of(name), torch.get_rng_state()
    tests = [scenario.splits(Seed(seed), whole=False).test for seed in (0, 0, 1)]
    assert same(tests[0], tests[1])
    assert same(tests[0], tests[2])
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_makes_the_same_student(name: str) -> None:
    scenario, state = scenario_of(name), torch.get_rng_state()
    for kind in scenario.architectures:
        digests = [weights_digest(scenario.student(kind, Seed(n)).state_dict()) for n in (0, 0, 1)]
        assert digests[0] == digests[1]
        # Where students start from one pre-trained model, seeds differ in the order of the data.
        assert (digests[1] == digests[2]) == (name in TEXTS)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("name", NAMES)
def test_its_target_model_answers_and_its_answers_agree_with_themselves(name: str) -> None:
    scenario = scenario_of(name)
    test = scenario.splits(Seed(), whole=False).test.take(torch.arange(20))
    model = scenario.target_model(scenario.student("plain", Seed()))
    assert isinstance(model, TargetModel)
    answers: Tensor = model.answer(test.inputs)
    assert len(answers) == len(test)
    assert bool(scenario.agree(answers, answers).all())
    if name in IMAGES:
        assert answers.shape == test.targets.shape
        assert torch.equal(scenario.agree(answers, test.targets), answers == test.targets)
    assert bool((model.example_losses(test) > 0).all())


@pytest.mark.parametrize("name", NAMES)
def test_a_teacher_it_does_not_have_is_refused(name: str) -> None:
    scenario = scenario_of(name)
    test = scenario.splits(Seed(), whole=False).test
    with pytest.raises(BadSetting, match="no 'psychic' teacher"):
        scenario.teacher("psychic", test, Seed(), Silent())
