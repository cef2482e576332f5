"""Old names are understood, and nothing that was trained or drawn under them changes."""

from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest

from robustbench_kd.core import registry
from robustbench_kd.core.aliases import (
    ENTRIES,
    SETTINGS,
    current_label,
    current_name,
    current_settings,
    stable_label,
    stable_name,
    stable_settings,
)
from robustbench_kd.core.errors import BadSetting, BrokenPlugin
from robustbench_kd.core.registry import configured, entries, find

RENAMED = [(kind, old, new) for kind, names in ENTRIES.items() for old, new in names.items()]


@pytest.mark.parametrize(("kind", "old", "new"), RENAMED)
def test_an_old_name_finds_the_entry_of_today(kind: str, old: str, new: str) -> None:
    assert current_name(kind, old) == new
    assert stable_name(kind, new) == old
    assert find(kind, old).name == new
    assert old not in entries(kind)


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_survive_the_way_to_stable_names_and_back(name: str) -> None:
    old = dict.fromkeys(SETTINGS[name], "1")
    new = current_settings(name, old)
    assert set(new) == set(SETTINGS[name].values())
    assert stable_settings(name, new) == old


def test_a_capability_was_a_door() -> None:
    assert current_settings("badnets", {"door": "teacher data"}) == {
        "capability": "teacher_train_data"
    }
    assert stable_settings("badnets", {"capability": "teacher_train_data"}) == {
        "door": "teacher data"
    }


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("untouched", "clean"),
        ("autoattack:form=lean", "autoattack:version=fast"),
        ("canary:doses=0+1+4,each=6", "canary-exposure:repetitions=0+1+4,per_level=6"),
        ("pgd:steps=20", "pgd:steps=20"),
        ("torchattacks:MIFGSM:steps=3", "torchattacks:MIFGSM:steps=3"),
    ],
)
def test_a_label_has_one_name_today_and_one_that_draws_are_derived_from(old: str, new: str) -> None:
    assert current_label("attacks", old) == new
    assert stable_label("attacks", new) == old
    assert current_label("attacks", new) == new


def test_an_old_setting_beside_the_new_one_is_refused_in_a_sentence() -> None:
    with pytest.raises(BadSetting, match="names one setting twice, by its old name and its new"):
        configured("attacks", "autoattack:form=lean,version=standard")
    assert configured("attacks", "autoattack:form=lean").version == "fast"


def test_a_plug_in_under_an_old_name_of_another_entry_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    point = EntryPoint("labels", "somebody:Labels", "robustbench_kd.defenses")
    monkeypatch.setattr(
        registry, "entry_points", lambda group: [point] if "defenses" in group else []
    )
    with pytest.raises(BrokenPlugin, match="'labels' is an old name of 'standard-training'"):
        find("defenses", "labels").load()
    assert find("defenses", "standard-training").load().name == "standard-training"
