"""What every backdoor of the catalogue keeps to; a new file is under these laws at once."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from robustbench_kd.attacks.backdoor._base import Backdoor, Secret
from robustbench_kd.core import options, registry
from robustbench_kd.core.errors import BadSetting
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.types import Examples, Splits, Submission, Tainted
from robustbench_kd.models.classifier import Classifier
from robustbench_kd.scenarios.digits import Digits

# Those that hide a word in a prompt are tried on a painter, by tests of their own.
NAMES = [
    name
    for name, entry in registry.entries("attacks").items()
    if entry.path is not None
    and entry.path.parent.name == "backdoor"
    and issubclass(entry.load(), Backdoor)
]
CHEAP = {
    "rate": 0.05,
    "size": 2,
    "frequency": 3.0,
    "strength": 0.3,
    "surrogate": "resnet-4",
    "shadow": "resnet-4",
    "images": 150,
    "steps": 2,
    "rounds": 1,
    "epochs": 1,
}


def fields(entry: type) -> set[str]:
    return {field.name for field in dataclasses.fields(entry)}


def load(name: str) -> type:
    entry: type = registry.find("attacks", name).load()
    return entry


def cheap(name: str, **changes: Any) -> Backdoor:
    """The attack with everything that costs time made small."""
    entry = load(name)
    wanted = {**CHEAP, **changes}
    attack = entry(**{key: value for key, value in wanted.items() if key in fields(entry)})
    assert isinstance(attack, Backdoor)
    return attack


def splits(channels: int = 1) -> Splits:
    """400 digits to train on and 60 to test, in an order that is not that of their ids."""
    data = Digits().splits(Seed(), whole=True)

    def part(examples: Examples, count: int) -> Examples:
        some = examples.take(torch.arange(count).flip(0))
        return Examples(some.ids, some.inputs.repeat(1, channels, 1, 1), some.targets)

    return Splits(part(data.train, 400), data.validation, part(data.test, 60))


def copies(data: Splits) -> list[Tensor]:
    parts: list[Examples] = [data.train, data.validation, data.test]
    return [value.clone() for part in parts for value in (part.ids, part.inputs, part.targets)]


def same(before: list[Tensor], after: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def planted(name: str, data: Splits, seed: int = 1, **changes: Any) -> Tainted[Secret]:
    return cheap(name, **changes).before(data, Seed(seed))


def hand_in(attack: Backdoor, data: Splits, secret: Secret) -> Submission:
    subject = Classifier(Digits().student("resnet-4", Seed()), 10)
    exhibit = attack.after(subject, data, secret, Seed(2))
    assert subject.passes.forward == 0, "a trigger needs no answer of the subject"
    return exhibit


def touched(before: Examples, after: Examples) -> set[int]:
    """Ids of the images that differ."""
    moved = (before.inputs != after.inputs).flatten(1).any(1)
    return set(before.ids[moved].tolist())


def kept_ids(secret: Secret) -> set[int]:
    """Ids of all images that the adversary may have changed."""
    return set(secret["planted"].tolist()) | set(secret.get("covers", torch.zeros(0)).tolist())


@pytest.mark.parametrize("name", NAMES)
def test_it_bears_the_name_of_its_file_and_names_its_source(name: str) -> None:
    entry: Any = load(name)
    assert entry.name == name
    assert entry.source.strip()
    assert registry.find("attacks", name).summary()
    assert (entry.__doc__ or "").strip()


@pytest.mark.parametrize("name", NAMES)
def test_its_settings_are_frozen_and_survive_json(name: str) -> None:
    entry: Any = load(name)
    attack = entry()
    for field in fields(entry):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(attack, field, getattr(attack, field))
    written = options.written(attack)
    assert json.loads(json.dumps(written, allow_nan=False)) == written
    assert entry(**written) == attack


IMPOSSIBLE = {
    "rate": ("0", "-0.1", "1.5"),
    "door": ("input", "window"),
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
    entry = load(name)
    unknown = fields(entry) - set(IMPOSSIBLE) - {"target", "surrogate", "shadow"}
    assert not unknown, f"nothing is known to be impossible for {unknown}"
    for setting, values in IMPOSSIBLE.items():
        for value in values if setting in fields(entry) else ():
            with pytest.raises(BadSetting):
                options.configure(entry, {setting: value})
    with pytest.raises(BadSetting, match="no setting 'colour'"):
        options.configure(entry, {"colour": "red"})


@pytest.mark.parametrize("name", NAMES)
def test_what_the_data_cannot_bear_is_refused_in_a_sentence(name: str) -> None:
    data = splits()
    for target in (10, -1):
        with pytest.raises(BadSetting, match=f"no class {target}; the last one is 9"):
            planted(name, data, target=target)
    with pytest.raises(BadSetting, match="plants none of 400 images"):
        planted(name, data, rate=0.001)
    if load(name)().clean_label:
        with pytest.raises(BadSetting, match="class 0 only"):
            planted(name, data, rate=0.5)
    for setting, too_large in {"size": 9, "grid": 9, "tiles": 81, "frequency": 4.0}.items():
        if setting in fields(load(name)):
            with pytest.raises(BadSetting, match=r"image|columns"):
                planted(name, data, **{setting: too_large})
    for setting in {"surrogate", "shadow"} & fields(load(name)):
        with pytest.raises(BadSetting, match="no network named 'nothing'"):
            planted(name, data, **{setting: "nothing"})


@pytest.mark.parametrize("name", NAMES)
def test_it_plants_the_share_of_the_whole_set_exactly_and_nothing_else(name: str) -> None:
    data = splits()
    for rate, count in ((0.05, 20), (0.0025, 1)):
        tainted = planted(name, data, rate=rate)
        assert tainted.secret["planted"].unique().numel() == count
        after = tainted.data.train
        assert torch.equal(after.ids, data.train.ids)
        assert touched(data.train, after) <= kept_ids(tainted.secret)
        assert set(tainted.secret["planted"].tolist()) <= touched(data.train, after)
        relabelled = data.train.ids[after.targets != data.train.targets]
        assert set(relabelled.tolist()) <= set(tainted.secret["planted"].tolist())
        for split in ("validation", "test", "reserve"):
            assert getattr(tainted.data, split) is getattr(data, split)


@pytest.mark.parametrize("name", NAMES)
def test_planted_images_bear_the_wanted_label_and_clean_labels_stay(name: str) -> None:
    data = splits()
    tainted = planted(name, data, target=3)
    rows = torch.isin(data.train.ids, tainted.secret["planted"])
    assert bool((tainted.data.train.targets[rows] == 3).all())
    if cheap(name).clean_label:
        assert torch.equal(tainted.data.train.targets, data.train.targets)
        with pytest.raises(BadSetting, match="all-to-one"):
            cheap(name, mapping="all-to-all")
    else:
        assert data.train.targets[rows].unique().numel() > 5


@pytest.mark.parametrize("name", [name for name in NAMES if not load(name).clean_label])
def test_all_to_all_wants_the_next_class_even_where_the_last_one_is_missing(name: str) -> None:
    data = splits()
    few = Splits(data.train, data.validation, data.test.take(data.test.targets < 9))
    attack = cheap(name, mapping="all-to-all", rate=0.0075)  # three images: no 9 among them
    tainted = attack.before(few, Seed(1))
    rows = torch.isin(data.train.ids, tainted.secret["planted"])
    assert int(data.train.targets[rows].max()) < 9
    assert torch.equal(tainted.data.train.targets[rows], data.train.targets[rows] + 1)
    assert torch.equal(hand_in(attack, few, tainted.secret).wanted, few.test.targets + 1)
    nine = data.test.take(data.test.targets == 9)
    wanted = hand_in(attack, Splits(data.train, nine, nine), tainted.secret).wanted
    assert bool((wanted == 0).all())


@pytest.mark.parametrize("name", NAMES)
def test_after_hands_in_every_test_image_once_stamped(name: str) -> None:
    data, attack = splits(), cheap(name, target=4)
    secret = attack.before(data, Seed(1)).secret
    exhibit = hand_in(attack, data, secret)
    assert torch.equal(exhibit.ids, data.test.ids)
    assert exhibit.inputs.shape == data.test.inputs.shape
    assert exhibit.inputs.dtype == torch.float32
    assert bool((exhibit.wanted == 4).all())
    assert touched(data.test, Examples(data.test.ids, exhibit.inputs, data.test.targets)) == set(
        data.test.ids.tolist()
    )
    again = hand_in(attack, data, secret)
    assert torch.equal(exhibit.inputs, again.inputs), "a stamp depends on the secret alone"
    one = attack.stamp(data.test.inputs[5:6], secret).clamp(0, 1)
    torch.testing.assert_close(exhibit.inputs[5:6], one, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("channels", [1, 3])
def test_images_stay_in_the_box_and_originals_as_they_were(name: str, channels: int) -> None:
    data, attack = splits(channels), cheap(name)
    kept = copies(data)
    tainted = attack.before(data, Seed(1))
    exhibit = hand_in(attack, data, tainted.secret)
    assert same(kept, copies(data))
    for images in (tainted.data.train.inputs, exhibit.inputs):
        assert images.shape[1] == channels
        assert float(images.min()) >= 0
        assert float(images.max()) <= 1


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_the_same_bits_and_another_seed_other_rows(name: str) -> None:
    data = splits()
    once = planted(name, data)
    with torch.random.fork_rng(devices=[]):
        torch.rand(17)
        state = torch.get_rng_state()
        again = planted(name, data)
        assert torch.equal(torch.get_rng_state(), state), "it drew from the global generator"
    assert same(copies(once.data), copies(again.data))
    assert once.secret.keys() == again.secret.keys()
    assert all(torch.equal(value, again.secret[key]) for key, value in once.secret.items())
    other = planted(name, data, seed=2)
    assert set(other.secret["planted"].tolist()) != set(once.secret["planted"].tolist())


@pytest.mark.parametrize("name", NAMES)
def test_the_secret_is_small_and_comes_back_from_disk_as_it_was(name: str, tmp_path: Path) -> None:
    data, attack = splits(), cheap(name)
    secret = attack.before(data, Seed(1)).secret
    save_file(dict(secret), tmp_path / "secret.safetensors")
    back = load_file(tmp_path / "secret.safetensors")
    assert (tmp_path / "secret.safetensors").stat().st_size < 10_000
    assert torch.equal(hand_in(attack, data, secret).inputs, hand_in(attack, data, back).inputs)


@pytest.mark.parametrize("name", NAMES)
def test_its_threat_is_an_implant_by_the_door_it_was_given(name: str) -> None:
    for door in ("student data", "teacher data"):
        threat = cheap(name, door=door).threat
        assert (threat.goal, threat.door, threat.sight) == ("implant", door, "answers")
