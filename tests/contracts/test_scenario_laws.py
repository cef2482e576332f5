"""What every ground of the catalogue keeps to; a new file is under these laws at once."""

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
from robustbench_kd.core.protocols import Scenario, Silent, Subject
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.types import Examples, Splits
from robustbench_kd.evaluation.fingerprints import scenario_of
from robustbench_kd.models.statistics import weights_digest

NAMES = list(registry.entries("scenarios"))
TEXTS = ("text", "tasks")
IMAGES = [name for name in NAMES if name not in (*TEXTS, "pictures")]


@cache
def splits_of(name: str, seed: int = 0) -> Splits | str:
    """All of the data where it lies on this machine, else the reason why not."""
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
    found = splits_of(name)
    if isinstance(found, str):
        pytest.skip(found)
    return found


def parts(splits: Splits) -> dict[str, Examples]:
    every = {
        "train": splits.train,
        "validation": splits.validation,
        "test": splits.test,
        "reserve": splits.reserve,
        "audit": splits.audit,
    }
    return {name: part for name, part in every.items() if part is not None}


def same(one: Examples, other: Examples) -> bool:
    pairs = [(one.ids, other.ids), (one.inputs, other.inputs), (one.targets, other.targets)]
    return all(torch.equal(a, b) for a, b in pairs)


def rows(examples: Examples) -> set[bytes]:
    """The inputs as bytes, to find the same one twice."""
    return {bytes(row) for row in examples.inputs.flatten(1).numpy()}


@pytest.mark.parametrize("name", NAMES)
def test_it_bears_the_name_of_its_file_and_names_its_networks(name: str) -> None:
    ground = scenario_of(name)
    assert isinstance(ground, Scenario)
    assert ground.name == name
    assert ground.edition
    assert {"plain", "teacher"} <= ground.nets.keys()
    assert all(isinstance(schedule, Schedule) for schedule in ground.teaching.values())
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
    ground = scenario_of(name)
    net = ground.student("plain", Seed()).eval()
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
def test_the_data_do_not_depend_on_who_asks(name: str) -> None:
    """The same test images for every seed, so that seeds can be paired."""
    ground, state = scenario_of(name), torch.get_rng_state()
    tests = [ground.splits(Seed(seed), whole=False).test for seed in (0, 0, 1)]
    assert same(tests[0], tests[1])
    assert same(tests[0], tests[2])
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_makes_the_same_student(name: str) -> None:
    ground, state = scenario_of(name), torch.get_rng_state()
    for kind in ground.nets:
        made = [weights_digest(ground.student(kind, Seed(n)).state_dict()) for n in (0, 0, 1)]
        assert made[0] == made[1]
        # Where students start from one foundation, seeds differ in the order of the data alone.
        assert (made[1] == made[2]) == (name in TEXTS)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("name", NAMES)
def test_its_subject_answers_and_its_answers_agree_with_themselves(name: str) -> None:
    ground = scenario_of(name)
    test = ground.splits(Seed(), whole=False).test.take(torch.arange(20))
    subject = ground.subject(ground.student("plain", Seed()))
    assert isinstance(subject, Subject)
    answers: Tensor = subject.answer(test.inputs)
    assert len(answers) == len(test)
    assert bool(ground.agree(answers, answers).all())
    if name in IMAGES:
        assert answers.shape == test.targets.shape
        assert torch.equal(ground.agree(answers, test.targets), answers == test.targets)
    assert bool((subject.surprise(test) > 0).all())


@pytest.mark.parametrize("name", NAMES)
def test_a_teacher_it_does_not_have_is_refused(name: str) -> None:
    ground = scenario_of(name)
    some = ground.splits(Seed(), whole=False).test
    with pytest.raises(BadSetting, match="no 'psychic' teacher"):
        ground.teacher("psychic", some, Seed(), Silent())
