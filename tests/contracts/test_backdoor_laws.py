"""What every backdoor on images satisfies; a new file is tested at once."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_attacks import all_equal, digits, field_names, image_attacks, small, tensors

from robustbench_kd.attacks._poison import COVER_IDS, POISON_IDS
from robustbench_kd.attacks.backdoor import AttackState, Backdoor
from robustbench_kd.core import options, registry
from robustbench_kd.core.config import REACHES_STUDENT, REACHES_TEACHER
from robustbench_kd.core.errors import BadSetting
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.submissions import AdversarialInputs
from robustbench_kd.core.types import Examples, PoisonedData, Splits
from robustbench_kd.models.classifier import Classifier
from robustbench_kd.scenarios.digits import Digits

ENTRIES: dict[str, Any] = {
    name: entry for name, entry in image_attacks().items() if issubclass(entry, Backdoor)
}
NAMES = list(ENTRIES)


def splits(channels: int = 1) -> Splits:
    return digits(400, 60, channels)


def poisoned_by(
    name: str, data: Splits, seed: int = 1, **changes: Any
) -> PoisonedData[AttackState]:
    poisoned: PoisonedData[AttackState] = small(ENTRIES[name], **changes).poison(data, Seed(seed))
    return poisoned


def submit(attack: Backdoor, data: Splits, state: AttackState) -> AdversarialInputs:
    model = Classifier(Digits().student("resnet-4", Seed()), 10)
    submission = attack.attack(model, data, state, Seed(2))
    assert model.passes.forward == 0, "a trigger needs no query"
    return submission


def changed_ids(before: Examples, after: Examples) -> set[int]:
    """Ids of the images that differ."""
    differs = (before.inputs != after.inputs).flatten(1).any(1)
    return set(before.ids[differs].tolist())


def known_ids(state: AttackState) -> set[int]:
    """Ids of all images that the adversary may have changed."""
    return set(state[POISON_IDS].tolist()) | set(state.get(COVER_IDS, torch.zeros(0)).tolist())


@pytest.mark.parametrize("name", NAMES)
def test_it_bears_the_name_of_its_file_and_names_its_source(name: str) -> None:
    entry = ENTRIES[name]
    assert entry.name == name
    assert entry.source.strip()
    assert registry.find("attacks", name).summary()
    assert (entry.__doc__ or "").strip()


@pytest.mark.parametrize("name", NAMES)
def test_its_settings_are_frozen_and_survive_json(name: str) -> None:
    entry = ENTRIES[name]
    attack = entry()
    for field in field_names(entry):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(attack, field, getattr(attack, field))
    written = options.written(attack)
    assert json.loads(json.dumps(written, allow_nan=False)) == written
    assert entry(**written) == attack


IMPOSSIBLE = {
    "rate": ("0", "-0.1", "1.5"),
    "capability": ("test_data", "window"),
    "mapping": ("some-to-one",),
    "size": ("0",),
    "alpha": ("0", "1.1"),
    "test_alpha": ("0", "-1"),
    "amplitude": ("0", "1.5"),
    "frequency": ("0",),
    "grid": ("1",),
    "strength": ("-1",),
    "covers": ("-1",),
    "perturbation": ("instagram",),
    "distance": ("0",),
    "tiles": ("15", "1", "-4"),
    "eps": ("-0.1", "2"),
    "steps": ("0",),
    "epochs": ("0",),
    "images": ("0",),
    "rounds": ("-1",),
    "batch": ("0",),
    "temperature": ("0",),
}


@pytest.mark.parametrize("name", NAMES)
def test_impossible_settings_are_refused(name: str) -> None:
    entry = ENTRIES[name]
    unknown = field_names(entry) - set(IMPOSSIBLE) - {"target", "surrogate", "shadow"}
    assert not unknown, f"nothing is known to be impossible for {unknown}"
    for setting, values in IMPOSSIBLE.items():
        for value in values if setting in field_names(entry) else ():
            with pytest.raises(BadSetting):
                options.configure(entry, {setting: value})
    with pytest.raises(BadSetting, match="no setting 'colour'"):
        options.configure(entry, {"colour": "red"})


@pytest.mark.parametrize("name", NAMES)
def test_what_the_data_do_not_allow_is_refused_in_a_sentence(name: str) -> None:
    data = splits()
    for target in (10, -1):
        with pytest.raises(BadSetting, match=f"no class {target}; the last one is 9"):
            poisoned_by(name, data, target=target)
    with pytest.raises(BadSetting, match="poisons none of 400 images"):
        poisoned_by(name, data, rate=0.001)
    if ENTRIES[name].clean_label:
        with pytest.raises(BadSetting, match="class 0 only"):
            poisoned_by(name, data, rate=0.5)
    for setting, too_large in {"size": 9, "grid": 9, "tiles": 81, "frequency": 4.0}.items():
        if setting in field_names(ENTRIES[name]):
            with pytest.raises(BadSetting, match=r"image|columns"):
                poisoned_by(name, data, **{setting: too_large})
    for setting in {"surrogate", "shadow"} & field_names(ENTRIES[name]):
        with pytest.raises(BadSetting, match="no network named 'nothing'"):
            poisoned_by(name, data, **{setting: "nothing"})


@pytest.mark.parametrize("name", NAMES)
def test_it_poisons_exactly_its_share_of_the_whole_set_and_nothing_else(name: str) -> None:
    data = splits()
    for rate, count in ((0.05, 20), (0.0025, 1)):
        poisoned = poisoned_by(name, data, rate=rate)
        assert poisoned.attack_state[POISON_IDS].unique().numel() == count
        after = poisoned.data.train
        assert torch.equal(after.ids, data.train.ids)
        assert changed_ids(data.train, after) <= known_ids(poisoned.attack_state)
        assert set(poisoned.attack_state[POISON_IDS].tolist()) <= changed_ids(data.train, after)
        relabelled = data.train.ids[after.targets != data.train.targets]
        assert set(relabelled.tolist()) <= set(poisoned.attack_state[POISON_IDS].tolist())
        for split in ("validation", "test", "reserve"):
            assert getattr(poisoned.data, split) is getattr(data, split)


@pytest.mark.parametrize("name", NAMES)
def test_poisoned_images_have_the_target_label_and_clean_labels_stay(name: str) -> None:
    data = splits()
    poisoned = poisoned_by(name, data, target=3)
    rows = torch.isin(data.train.ids, poisoned.attack_state[POISON_IDS])
    assert bool((poisoned.data.train.targets[rows] == 3).all())
    if ENTRIES[name].clean_label:
        assert torch.equal(poisoned.data.train.targets, data.train.targets)
        with pytest.raises(BadSetting, match="all-to-one"):
            small(ENTRIES[name], mapping="all-to-all")
    else:
        assert data.train.targets[rows].unique().numel() > 5


@pytest.mark.parametrize("name", [name for name in NAMES if not ENTRIES[name].clean_label])
def test_all_to_all_targets_the_next_class_even_where_the_last_one_is_missing(name: str) -> None:
    data = splits()
    few = Splits(data.train, data.validation, data.test.take(data.test.targets < 9))
    attack = small(
        ENTRIES[name], mapping="all-to-all", rate=0.0075
    )  # three images: no 9 among them
    poisoned = attack.poison(few, Seed(1))
    rows = torch.isin(data.train.ids, poisoned.attack_state[POISON_IDS])
    assert int(data.train.targets[rows].max()) < 9
    assert torch.equal(poisoned.data.train.targets[rows], data.train.targets[rows] + 1)
    assert torch.equal(submit(attack, few, poisoned.attack_state).targets, few.test.targets + 1)
    nine = data.test.take(data.test.targets == 9)
    targets = submit(attack, Splits(data.train, nine, nine), poisoned.attack_state).targets
    assert targets is not None
    assert bool((targets == 0).all())


@pytest.mark.parametrize("name", NAMES)
def test_it_submits_every_test_image_once_with_the_trigger(name: str) -> None:
    data, attack = splits(), small(ENTRIES[name], target=4)
    state = attack.poison(data, Seed(1)).attack_state
    submission = submit(attack, data, state)
    assert torch.equal(submission.ids, data.test.ids)
    assert submission.inputs.shape == data.test.inputs.shape
    assert submission.inputs.dtype == torch.float32
    assert bool((submission.targets == 4).all())
    assert changed_ids(
        data.test, Examples(data.test.ids, submission.inputs, data.test.targets)
    ) == set(data.test.ids.tolist())
    again = submit(attack, data, state)
    assert torch.equal(submission.inputs, again.inputs), "a trigger depends on the state alone"
    single = attack.apply_trigger(data.test.inputs[5:6], state).clamp(0, 1)
    torch.testing.assert_close(submission.inputs[5:6], single, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("channels", [1, 3])
def test_images_stay_in_the_box_and_originals_as_they_were(name: str, channels: int) -> None:
    data, attack = splits(channels), small(ENTRIES[name])
    before = tensors(data)
    poisoned = attack.poison(data, Seed(1))
    submission = submit(attack, data, poisoned.attack_state)
    assert all_equal(before, tensors(data))
    for images in (poisoned.data.train.inputs, submission.inputs):
        assert images.shape[1] == channels
        assert float(images.min()) >= 0
        assert float(images.max()) <= 1


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_the_same_bits_and_another_seed_other_rows(name: str) -> None:
    data = splits()
    once = poisoned_by(name, data)
    with torch.random.fork_rng(devices=[]):
        torch.rand(17)
        generator = torch.get_rng_state()
        again = poisoned_by(name, data)
        assert torch.equal(torch.get_rng_state(), generator), "it drew from the global generator"
    assert all_equal(tensors(once.data), tensors(again.data))
    assert once.attack_state.keys() == again.attack_state.keys()
    assert all(
        torch.equal(value, again.attack_state[key]) for key, value in once.attack_state.items()
    )
    other = poisoned_by(name, data, seed=2)
    assert set(other.attack_state[POISON_IDS].tolist()) != set(
        once.attack_state[POISON_IDS].tolist()
    )


@pytest.mark.parametrize("name", NAMES)
def test_its_state_is_small_and_is_read_from_disk_as_it_was(name: str, tmp_path: Path) -> None:
    data, attack = splits(), small(ENTRIES[name])
    state = attack.poison(data, Seed(1)).attack_state
    save_file(dict(state), tmp_path / "state.safetensors")
    back = load_file(tmp_path / "state.safetensors")
    assert (tmp_path / "state.safetensors").stat().st_size < 10_000
    assert torch.equal(submit(attack, data, state).inputs, submit(attack, data, back).inputs)


@pytest.mark.parametrize("name", NAMES)
def test_its_threat_is_a_backdoor_in_the_training_data_that_it_was_given(name: str) -> None:
    for capability in (*REACHES_STUDENT, *REACHES_TEACHER):
        threat = small(ENTRIES[name], capability=capability).threat
        assert (threat.goal, threat.capability, threat.knowledge) == (
            "backdoor",
            capability,
            "decision_based",
        )
    with pytest.raises(BadSetting, match="its capability is one of student_train_data"):
        small(ENTRIES[name], capability="test_data")
