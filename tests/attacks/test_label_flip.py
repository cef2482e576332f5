"""Label flips: which labels, to what, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from small_attacks import digits

from robustbench_kd.attacks._poison import POISON_IDS
from robustbench_kd.attacks.poisoning.label_flip import LabelFlip
from robustbench_kd.core.errors import BadSetting
from robustbench_kd.core.seed import Seed
from robustbench_kd.scenarios.digits import Digits

DATA = digits(200, 100)
MODEL = Digits().target_model(Digits().student("resnet-4-8", Seed()))


def test_symmetric_flips_exactly_the_count_and_never_to_the_same_class() -> None:
    train = DATA.train
    poisoned = LabelFlip(rate=0.3).poison(DATA, Seed())
    targets = poisoned.data.train.targets
    flipped = targets != train.targets
    assert int(flipped.sum()) == 60
    assert sorted(train.ids[flipped].tolist()) == sorted(poisoned.attack_state[POISON_IDS].tolist())
    assert set(targets[flipped].tolist()) == set(range(10))
    assert torch.equal(poisoned.data.train.inputs, train.inputs)


def test_a_pair_flips_images_of_one_class_to_the_other_and_nothing_else() -> None:
    train = DATA.train
    poisoned = LabelFlip(rate=0.05, kind="pair", origin=3, target=8).poison(DATA, Seed())
    flipped = poisoned.data.train.targets != train.targets
    assert int(flipped.sum()) == 10
    assert set(train.targets[flipped].tolist()) == {3}
    assert set(poisoned.data.train.targets[flipped].tolist()) == {8}


def test_flips_repeat_bit_for_bit_and_differ_from_seed_to_seed() -> None:
    once, again, other = (
        LabelFlip(rate=0.3).poison(DATA, Seed(n)).data.train.targets for n in (0, 0, 1)
    )
    assert torch.equal(once, again)
    assert not torch.equal(once, other)


def test_flips_submit_plain_images_and_only_a_pair_has_targets() -> None:
    test = DATA.test
    even = LabelFlip().attack(MODEL, DATA, {}, Seed())
    pair = LabelFlip(kind="pair", origin=3, target=8).attack(MODEL, DATA, {}, Seed())
    assert LabelFlip().threat.goal == "availability_poisoning"
    assert even.targets is None
    assert pair.targets is not None
    assert torch.equal(even.inputs, test.inputs)
    assert torch.equal(pair.ids, test.ids)
    assert pair.targets.tolist() == [8 if y == 3 else y for y in test.targets.tolist()]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rate": 0.001}, "poisons none of 200"),
        ({"rate": 0.5, "kind": "pair"}, "the rate can be at most"),
        ({"kind": "pair", "origin": 10}, "there is no class 10"),
        ({"kind": "pair", "target": -1}, "there is no class -1"),
        ({"kind": "pair", "origin": 4, "target": 4}, "a pair is two classes"),
        ({"rate": 0.0}, "rate is a share"),
    ],
)
def test_impossible_flips_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(BadSetting, match=message):
        LabelFlip(**changes).poison(DATA, Seed())
